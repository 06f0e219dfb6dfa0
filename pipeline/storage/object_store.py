"""A run directory on an object store, through fsspec: ``s3://``, ``gs://``, ``memory://`` and whatever else fsspec reaches.

One complete upload a file, so a reader sees all of it or none. Every operation is tried again for a while when its error is one
that time cures (``pipeline.storage.retry``). docs/storage.md says what each store promises.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.errors import StorageError
from pipeline.core.seeds import digest_of
from pipeline.storage.fsspec_client import GCS, HADOOP, S3, asking, connect, protocol_of
from pipeline.storage.hdfs import HadoopFiles, PyarrowFiles, WebHdfsFiles
from pipeline.storage.retry import chain_of, code_of

Result = TypeVar("Result")

CREATES = (*S3, *GCS, "memory")  # clients that put a file only where there is none, when asked with mode="create"
PART = 32 << 20  # of an upload in parts
PARTS_AT_ONCE = 4


@dataclass(frozen=True)
class Upload:
    """An upload in parts that was begun and neither finished nor aborted: the file it is of, its number, when it began."""

    path: str
    number: str
    begun: datetime


def remote_store(url: str) -> "RemoteStore":
    """The store of a URL. Raises UsageError for one that cannot be reached from here; nothing is asked of the store yet."""
    kind = {**dict.fromkeys(S3, S3Store), **dict.fromkeys(HADOOP, HadoopStore)}.get(protocol_of(url), RemoteStore)
    return kind(url)


class RemoteStore:
    """A store of whole files. Pickled as its URL alone: a worker connects anew, with the credentials of its own environment."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, root = connect(self.url, fresh=True)
        self._root = root.rstrip("/")

    @property
    def local_root(self) -> None:
        return None

    def scratch_folder(self) -> Path:
        return Path(tempfile.gettempdir()) / f"procrop-journal-{os.getuid()}" / digest_of(self.url)[:12]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _ask(
        self, path: str, call: Callable[[], Result], also: Callable[[Exception], bool] = lambda error: False
    ) -> Result:
        return asking(f"{self.url}/{path}" if path else self.url, call, also)

    def read(self, path: str) -> bytes:
        return self._ask(path, lambda: self._cat(self._path(path)))

    def _cat(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(path)
        return data

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        if size <= 0:
            return b""
        return self._ask(path, lambda: bytes(self._fs.cat_file(self._path(path), start=offset, end=offset + size)))

    def write(self, path: str, data: bytes) -> None:
        self._ask(path, lambda: self._fs.pipe_file(self._path(path), data))

    def create(self, path: str, data: bytes) -> bool:
        """As the store's create-if-absent has it. An answer that was lost on its way makes the second try find our own file:
        what is there with these very bytes is ours (or as good as).
        """
        if protocol_of(self.url) not in CREATES:
            return self._create_without(path, data)
        try:
            self._ask(path, lambda: self._fs.pipe_file(self._path(path), data, mode="create"))
        except FileExistsError:
            return self.read(path) == data
        return True

    def _create_without(self, path: str, data: bytes) -> bool:
        """Look, write, look again: two writers within the same moment may both believe that they were first."""
        if self.exists(path):
            return False
        self.write(path, data)
        return self.read(path) == data

    def adopt(self, local: Path, path: str) -> None:
        self.copy_in(local, path)
        local.unlink()

    def copy_in(self, local: Path, path: str) -> None:
        self._ask(path, lambda: self._fs.put_file(str(local), self._path(path)))

    def exists(self, path: str) -> bool:
        try:
            self._ask(path, lambda: self._fs.info(self._path(path)))
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        return int(self._ask(path, lambda: self._fs.info(self._path(path)))["size"])

    def names(self, folder: str) -> list[str]:
        where = self._path(folder)
        try:
            found = self._ask(folder, lambda: self._list(where))
        except FileNotFoundError:
            return []
        names = {str(name).rstrip("/").rsplit("/", 1)[-1] for name in found if str(name).strip("/") != where.strip("/")}
        return sorted(names)

    def _list(self, where: str) -> list[str]:
        self._fs.invalidate_cache()
        return list(self._fs.ls(where, detail=False))

    def remove(self, path: str) -> None:
        """A name with a dot inside is a file, as everywhere in a run directory: one request deletes it."""
        target = self._path(path)
        try:
            if "." in path.rsplit("/", 1)[-1]:
                self._ask(path, lambda: self._fs.rm_file(target))
            else:
                self._ask(path, lambda: self._fs.rm(target, recursive=True))
        except FileNotFoundError:
            return

    def move(self, path: str, to: str) -> None:
        """A copy of each file, then the deletion of each: an interrupted move can be done again, and loses nothing."""
        start, goal = self._path(path).strip("/"), self._path(to)
        files = [str(name) for name in self._ask(path, lambda: self._fs.find(self._path(path)))]
        for name in files:
            rest = name.strip("/").removeprefix(start)
            self._ask(path, partial(self._fs.cp_file, name, goal + rest))
        for name in files:
            self._ask(path, partial(self._fs.rm_file, name))

    @contextmanager
    def guard(self, path: str) -> Iterator[bool]:
        yield False  # no remote store has a lock that dies with its owner

    def ensure(self) -> None:
        """A store that is gone raises errors of its own."""

    def unfinished(self) -> list[Upload]:
        """Uploads in parts under this run that nobody finished; none where the store clears them away itself."""
        return []

    def abort(self, upload: Upload) -> None:
        """Drop the parts of an unfinished upload."""


class S3Store(RemoteStore):
    """S3 and what speaks like it. Large files go up in parts, which stay (and cost) when a process is killed between them."""

    def _cat(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(path, max_concurrency=1)  # several at once would ask for the size first
        return data

    def copy_in(self, local: Path, path: str) -> None:
        """Raises StorageError; what was uploaded of a file that failed is aborted."""
        options = {"chunksize": PART, "max_concurrency": PARTS_AT_ONCE}
        self._ask(path, lambda: self._fs.put_file(str(local), self._path(path), **options), also=_was_aborted)

    def unfinished(self) -> list[Upload]:
        bucket, prefix, _ = self._fs.split_path(f"{self._root}/")
        found: list[Upload] = []
        place: dict[str, str] = {}
        while True:
            ask = partial(self._fs.call_s3, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **place)
            page = self._ask("", ask)
            for entry in page.get("Uploads", []):
                if entry["Key"].startswith(prefix):  # some servers like S3 list more than was asked for
                    found.append(Upload(entry["Key"].removeprefix(prefix), entry["UploadId"], entry["Initiated"]))
            if not page.get("IsTruncated"):
                return found
            place = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, upload: Upload) -> None:
        bucket, key, _ = self._fs.split_path(self._path(upload.path))
        try:
            self._ask(upload.path, lambda: self._fs.abort_mpu(bucket, key, upload.number))
        except FileNotFoundError:
            return  # finished meanwhile


def _was_aborted(error: Exception) -> bool:
    """Whether an upload was taken for a dead process's and cleared away: it is begun again."""
    return any(code_of(one) == "NoSuchUpload" for one in chain_of(error))


class HadoopStore(RemoteStore):
    """HDFS, over its own protocol or over WebHDFS: written aside and renamed, for a file is visible there while it is written."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._files: HadoopFiles = PyarrowFiles(self._fs) if protocol_of(url) == "hdfs" else WebHdfsFiles(self._fs)

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        return self._ask(path, lambda: self._files.read(self._path(path), offset, size)) if size > 0 else b""

    def _cat(self, path: str) -> bytes:
        return self._files.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._ask(path, lambda: self._files.put(self._path(path), data, replace=True))

    def create(self, path: str, data: bytes) -> bool:
        if self._ask(path, lambda: self._files.put(self._path(path), data, replace=False)):
            return True
        return self.read(path) == data

    def copy_in(self, local: Path, path: str) -> None:
        self._ask(path, lambda: self._files.put(self._path(path), local, replace=True))

    def remove(self, path: str) -> None:
        self._ask(path, lambda: self._files.remove(self._path(path)))

    def move(self, path: str, to: str) -> None:
        self._ask(to, lambda: self._fs.makedirs(self._path(to).rsplit("/", 1)[0], exist_ok=True))
        moved = self._ask(path, lambda: self._files.rename(self._path(path), self._path(to), replace=False))
        if not moved and (self.exists(path) or not self.exists(to)):  # else it was done, and only the answer was lost
            raise StorageError(f"'{self.url}/{path}' cannot be moved to '{to}': is there one already?")
