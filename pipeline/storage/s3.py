"""A run directory on S3 or a compatible store: uploads in parts; writes and deletions under a condition (ETag)."""

import contextlib
from functools import partial
from pathlib import Path

from pipeline.storage.base import Upload, removable
from pipeline.storage.object_store import RemoteStore
from pipeline.storage.retry import cause_chain, error_code

PART = 32 << 20  # bytes of a part of a multipart upload; S3 allows 10,000 parts, so files of up to 320 GiB
PARTS_AT_ONCE = 4  # uploads of parts in parallel: at most 128 MiB of a file are in memory


class S3Store(RemoteStore):
    """S3 and compatible stores. Large files are multipart uploads, whose parts stay (and cost) when the process is killed."""

    def _cat(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(
            path, max_concurrency=1
        )  # parallel ranges would need one more request for the size
        return data

    def copy_in(self, local: Path, path: str) -> None:
        """Raises StorageError; the parts of a failed upload are aborted."""
        self._put(local, path, mode="overwrite")

    def _put_new(self, local: Path, path: str) -> None:
        self._put(local, path, mode="create")

    def _put(self, local: Path, path: str, *, mode: str) -> None:
        options = {"chunksize": PART, "max_concurrency": PARTS_AT_ONCE, "mode": mode}
        self._request(
            path, lambda: self._fs.put_file(str(local), self._path(path), **options), also_transient=_was_aborted
        )

    def etag(self, path: str) -> str:
        try:
            return str(self._request(path, lambda: self._fs.info(self._path(path))).get("ETag", ""))
        except FileNotFoundError:
            return ""

    def remove_if(self, path: str, etag: str) -> None:
        bucket, key, _ = self._fs.split_path(self._path(removable(path, self.url)))
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # removed, or replaced, by another
            self._request(path, lambda: self._fs.call_s3("delete_object", Bucket=bucket, Key=key, **_only_if(etag)))

    def replace_if(self, path: str, data: bytes, etag: str) -> bool:
        try:
            self._request(path, lambda: self._fs.pipe_file(self._path(path), data, **_only_if(etag)))
        except FileNotFoundError:
            return False
        except FileExistsError:  # another's, or ours whose answer was lost
            return self.read(path) == data
        return True

    def unfinished(self) -> list[Upload]:
        bucket, prefix, _ = self._fs.split_path(f"{self._root}/")
        uploads: list[Upload] = []
        position: dict[str, str] = {}
        while True:
            list_page = partial(self._fs.call_s3, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **position)
            page = self._request("", list_page)
            for entry in page.get("Uploads", []):
                if entry["Key"].startswith(prefix):  # some compatible servers ignore the prefix
                    uploads.append(Upload(entry["Key"].removeprefix(prefix), entry["UploadId"], entry["Initiated"]))
            if not page.get("IsTruncated"):
                return uploads
            position = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, upload: Upload) -> None:
        bucket, key, _ = self._fs.split_path(self._path(upload.path))
        try:
            self._request(upload.path, lambda: self._fs.abort_mpu(bucket, key, upload.number))
        except FileNotFoundError:
            return  # completed meanwhile


def _only_if(etag: str) -> dict[str, str]:
    """The condition of a request to S3. A store that knows none ignores it."""
    return {"IfMatch": etag} if etag else {}


def _was_aborted(error: Exception) -> bool:
    """Whether another process aborted this upload as stale: it must be started again."""
    return any(error_code(one) == "NoSuchUpload" for one in cause_chain(error))
