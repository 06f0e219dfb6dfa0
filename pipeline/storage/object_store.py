"""A run directory on an object store, through fsspec: ``s3://``, ``gs://``, ``memory://`` and whatever else fsspec reaches.

A file is one complete upload, so a reader sees all of it or none. Every operation is retried while its error is transient
(``pipeline.storage.retry``). docs/storage.md lists what each store guarantees.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import StorageError
from pipeline.core.seeds import digest_of
from pipeline.storage.base import Upload, inside, private_folder, removable
from pipeline.storage.fsspec_client import GCS, S3, call_store, open_filesystem, protocol_of
from pipeline.storage.hdfs import HadoopFiles, WebHdfsFiles

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Result = TypeVar("Result")

EXCLUSIVE_CREATE = (*S3, *GCS, "memory")  # protocols whose client has mode="create": fails when the file exists
CREATES = 4  # tries of a create whose rival goes away before it can be read


class RemoteStore:
    """A store of whole files. Only the URL is pickled: a worker connects again, with the credentials of its own environment.

    Args:
        url: fsspec URL of the run directory. Raises UsageError for one that cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        fs, root = open_filesystem(self.url, fresh=True)
        self._fs: AbstractFileSystem = fs
        self._root = root.rstrip("/")

    @property
    def local_root(self) -> None:
        return None

    def scratch_folder(self) -> Path:
        mine = private_folder(Path(tempfile.gettempdir()) / f"procrop-journal-{os.getuid()}")
        return mine / digest_of(self.url)[:12]

    def __reduce__(self) -> tuple[type["RemoteStore"], tuple[str]]:
        return type(self), (self.url,)

    def _path(self, path: str) -> str:
        return f"{self._root}/{inside(path, self.url)}" if path else self._root

    def _request(
        self, path: str, call: Callable[[], Result], also_transient: Callable[[Exception], bool] = lambda error: False
    ) -> Result:
        return call_store(f"{self.url}/{path}" if path else self.url, call, also_transient)

    def read(self, path: str) -> bytes:
        return self._request(path, lambda: self._cat(self._path(path)))

    def _cat(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(path)
        return data

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        if size <= 0:
            return b""
        return self._request(path, lambda: bytes(self._fs.cat_file(self._path(path), start=offset, end=offset + size)))

    def write(self, path: str, data: bytes) -> None:
        self._request(path, lambda: self._fs.pipe_file(self._path(path), data))

    def create(self, path: str, data: bytes) -> bool:
        """The store's own create-if-absent. When the response of the first attempt is lost, the retry meets our own file:
        an existing file with exactly these bytes counts as ours.
        """
        if protocol_of(self.url) not in EXCLUSIVE_CREATE:
            return self._create_without_exclusion(path, data)
        for _ in range(CREATES):
            try:
                self._request(path, lambda: self._fs.pipe_file(self._path(path), data, mode="create"))
                return True
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):  # its owner removed it meanwhile: the name is free
                    return self.read(path) == data
        return False

    def _create_without_exclusion(self, path: str, data: bytes) -> bool:
        """Check, write, read back: two writers at the same moment may both succeed."""
        if self.exists(path):
            return False
        self.write(path, data)
        return self.read(path) == data

    def create_from(self, local: Path, path: str, *, move: bool) -> bool:
        if protocol_of(self.url) not in EXCLUSIVE_CREATE:
            if self.exists(path):
                return False
            self.copy_in(local, path)
            return True
        try:
            self._put_new(local, path)
        except FileExistsError:
            return False  # also when our own answer was lost: the caller compares the bytes
        return True

    def _put_new(self, local: Path, path: str) -> None:
        self._request(path, lambda: self._fs.put_file(str(local), self._path(path), mode="create"))

    def adopt(self, local: Path, path: str) -> None:
        self.copy_in(local, path)
        local.unlink()

    def copy_in(self, local: Path, path: str) -> None:
        self._request(path, lambda: self._fs.put_file(str(local), self._path(path)))

    def exists(self, path: str) -> bool:
        try:
            self._request(path, lambda: self._fs.info(self._path(path)))
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        return int(self._request(path, lambda: self._fs.info(self._path(path)))["size"])

    def names(self, folder: str) -> list[str]:
        where = self._path(folder)
        try:
            paths = self._request(folder, lambda: self._list(where))
        except FileNotFoundError:
            return []
        names = {str(name).rstrip("/").rsplit("/", 1)[-1] for name in paths if str(name).strip("/") != where.strip("/")}
        return sorted(names)

    def _list(self, where: str) -> list[str]:
        self._fs.invalidate_cache()
        return list(self._fs.ls(where, detail=False))

    def remove(self, path: str) -> None:
        """A name with a dot is a file, as everywhere in a run directory: it takes one request."""
        target = self._path(removable(path, self.url))
        try:
            if "." in path.rsplit("/", 1)[-1]:
                self._request(path, lambda: self._fs.rm_file(target))
            else:
                self._request(path, lambda: self._fs.rm(target, recursive=True))
        except FileNotFoundError:
            return

    def etag(self, path: str) -> str:
        return ""

    def remove_if(self, path: str, etag: str) -> None:
        self.remove(path)

    def replace_if(self, path: str, data: bytes, etag: str) -> bool:
        self.write(path, data)
        return True

    def move(self, path: str, to: str) -> None:
        """Copy every file, then delete every file: an interrupted move can be repeated and loses nothing."""
        start, goal = self._path(removable(path, self.url)).strip("/"), self._path(to)
        files = [str(name) for name in self._request(path, lambda: self._fs.find(self._path(path)))]
        for name in files:
            rest = name.strip("/").removeprefix(start)
            self._request(path, partial(self._fs.cp_file, name, goal + rest))
        for name in files:
            self._request(path, partial(self._fs.rm_file, name))

    @contextmanager
    def guard(self, path: str) -> Iterator[bool]:
        yield False  # no remote store has a lock that is released when its owner dies

    def ensure(self) -> None:
        """Nothing to check: requests to a store that is gone raise errors themselves."""

    def unfinished(self) -> list[Upload]:
        return []

    def abort(self, upload: Upload) -> None:
        """Only S3 keeps the parts of unfinished uploads."""


class HadoopStore(RemoteStore):
    """HDFS over WebHDFS. Files are written under a temporary name and renamed: HDFS shows partial files."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._files: HadoopFiles = WebHdfsFiles(self._fs)

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        return self._request(path, lambda: self._files.read(self._path(path), offset, size)) if size > 0 else b""

    def _cat(self, path: str) -> bytes:
        return self._files.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._request(path, lambda: self._files.put(self._path(path), data, replace=True))

    def create(self, path: str, data: bytes) -> bool:
        for _ in range(CREATES):
            if self._request(path, lambda: self._files.put(self._path(path), data, replace=False)):
                return True
            with contextlib.suppress(FileNotFoundError):  # its owner removed it meanwhile: the name is free
                return self.read(path) == data
        return False

    def create_from(self, local: Path, path: str, *, move: bool) -> bool:
        return self._request(path, lambda: self._files.put(self._path(path), local, replace=False))

    def copy_in(self, local: Path, path: str) -> None:
        self._request(path, lambda: self._files.put(self._path(path), local, replace=True))

    def remove(self, path: str) -> None:
        self._request(path, lambda: self._files.remove(self._path(removable(path, self.url))))

    def move(self, path: str, to: str) -> None:
        removable(path, self.url)
        self._request(to, lambda: self._fs.makedirs(self._path(to).rsplit("/", 1)[0], exist_ok=True))
        moved = self._request(path, lambda: self._files.rename(self._path(path), self._path(to), replace=False))
        if not moved and (self.exists(path) or not self.exists(to)):  # else it was done, and only the response was lost
            raise StorageError(f"'{self.url}/{path}' cannot be moved to '{to}': is there one already?")
