"""A run directory on an object store or distributed file system, through fsspec: ``s3://``, ``gs://``, ``hdfs://``, ``memory://``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from pipeline.errors import StorageError


class RemoteStore:
    """One complete upload a file. ``create`` uses the store's create-if-absent where fsspec offers it (``mode="create"``)."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StorageError(f"cannot open '{url}': {error}") from error

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def read(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(self._path(path))
        return data

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        data: bytes = self._fs.cat_file(self._path(path), start=offset, end=offset + size)
        return data

    def write(self, path: str, data: bytes) -> None:
        self._fs.makedirs(self._path(path).rsplit("/", 1)[0], exist_ok=True)
        self._fs.pipe_file(self._path(path), data)

    def create(self, path: str, data: bytes) -> bool:
        self._fs.makedirs(self._path(path).rsplit("/", 1)[0], exist_ok=True)
        try:
            self._fs.pipe_file(self._path(path), data, mode="create")
        except FileExistsError:
            return False
        return True

    def adopt(self, local: Path, path: str) -> None:
        self._fs.makedirs(self._path(path).rsplit("/", 1)[0], exist_ok=True)
        self._fs.put_file(str(local), self._path(path))
        local.unlink()

    def copy_in(self, local: Path, path: str) -> None:
        self._fs.makedirs(self._path(path).rsplit("/", 1)[0], exist_ok=True)
        self._fs.put_file(str(local), self._path(path))

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._path(path)))

    def size(self, path: str) -> int:
        return int(self._fs.size(self._path(path)))

    def names(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        if not self._fs.exists(self._path(folder)):
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in self._fs.ls(self._path(folder), detail=False))

    def remove(self, path: str) -> None:
        if self._fs.exists(self._path(path)):
            self._fs.rm(self._path(path), recursive=True)

    def move(self, path: str, to: str) -> None:
        self._fs.mv(self._path(path), self._path(to), recursive=True)

    @contextmanager
    def guard(self, path: str) -> Iterator[bool]:
        yield False  # object stores have no lock that dies with its owner

    def ensure(self) -> None:
        """An object store that is gone raises errors of its own."""
