"""Where a run directory lives, and how a file gets there: written aside, flushed, renamed, its folder flushed.

``LocalStore`` is durable against power loss; ``RemoteStore`` does one complete upload a file. Both give the same contract:
a reader never sees half a file, and ``create`` succeeds for one writer only.
"""

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id
from typing import Any, BinaryIO, Protocol

from pipeline.errors import StorageError, UsageError

_FULL_OR_READ_ONLY = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO, errno.ENOTDIR}


class Store(Protocol):
    """A run directory. Paths are relative, with '/'."""

    url: str

    def read(self, path: str) -> bytes:
        """All bytes of a file; raises FileNotFoundError."""
        ...

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """Bytes ``offset`` to ``offset + size`` of a file."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Put a whole file in place, replacing one of that name."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Put a whole file in place unless there is one; False when another writer was first."""
        ...

    def adopt(self, local: Path, path: str) -> None:
        """Take a finished local file into the store under ``path``."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        ...

    def size(self, path: str) -> int:
        """Bytes of a file; raises FileNotFoundError."""
        ...

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; empty when there is none."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file or folder, if it is there."""
        ...

    def move(self, path: str, to: str) -> None:
        """Rename a file or folder."""
        ...


def open_store(url: str) -> Store:
    """The store of a path or fsspec URL (``work``, ``s3://bucket/run``)."""
    if "://" in url and not url.startswith("file://"):
        from pipeline.storage_remote import RemoteStore

        return RemoteStore(url)
    return LocalStore(Path(url.removeprefix("file://")))


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn the errors of a full, read-only or vanished disk into one line; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_OR_READ_ONLY:
            raise StorageError(
                f"cannot write '{where}': {error.strerror}; what was committed is intact, "
                "free the disk or fix its permissions and run the same command again"
            ) from error
        raise


def fsync_folder(folder: Path) -> None:
    """Make renames within a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LocalStore:
    """A folder of this machine (or of a shared file system mounted on it)."""

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise UsageError(f"the work directory '{root}' is a file")
        self.root = root
        self.url = str(root)

    def local(self, path: str) -> Path:
        """The real path of a file."""
        return self.root / path

    def read(self, path: str) -> bytes:
        return self.local(path).read_bytes()

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        with open(self.local(path), "rb") as file:
            file.seek(offset)
            return file.read(size)

    def _write_aside(self, path: str, data: bytes) -> Path:
        target = self.local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.partial.{socket.gethostname()}.{os.getpid()}-{get_native_id()}")
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return aside

    def write(self, path: str, data: bytes) -> None:
        with storage_errors(f"{self.url}/{path}"):
            aside = self._write_aside(path, data)
            os.replace(aside, self.local(path))
            fsync_folder(self.local(path).parent)

    def create(self, path: str, data: bytes) -> bool:
        with storage_errors(f"{self.url}/{path}"):
            aside = self._write_aside(path, data)
            try:
                # A link fails when the name exists, and the file behind it is complete: O_EXCL alone could leave half a file.
                os.link(aside, self.local(path))
            except FileExistsError:
                return False
            finally:
                aside.unlink()
            fsync_folder(self.local(path).parent)
            return True

    def adopt(self, local: Path, path: str) -> None:
        target = self.local(path)
        with storage_errors(f"{self.url}/{path}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(local, target)
            fsync_folder(target.parent)

    def exists(self, path: str) -> bool:
        return self.local(path).exists()

    def size(self, path: str) -> int:
        return self.local(path).stat().st_size

    def names(self, folder: str) -> list[str]:
        return sorted(os.listdir(self.local(folder))) if self.local(folder).is_dir() else []

    def remove(self, path: str) -> None:
        target = self.local(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        with storage_errors(f"{self.url}/{to}"):
            self.local(to).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.local(path), self.local(to))
            fsync_folder(self.local(to).parent)


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """Digest and size of the rest of an open file."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def describe(data: bytes) -> dict[str, Any]:
    """What a receipt says of a file: its size and sha256."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
