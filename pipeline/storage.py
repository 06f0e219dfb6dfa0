"""Where a run directory lives, and how a file gets there: written aside, flushed, renamed, its folder flushed.

``LocalStore`` is durable against power loss; ``RemoteStore`` does one complete upload a file, or writes aside and
renames, too. All give the same contract: a reader never sees half a file, and ``create`` succeeds for one writer only.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id
from typing import Any, BinaryIO, Protocol

from pipeline.errors import StorageError, UsageError

PIECE = 1 << 20
_FULL_OR_READ_ONLY = {
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO, errno.ENOTDIR,
    errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT,
}  # fmt: skip


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

    def copy_in(self, local: Path, path: str) -> None:
        """Put a copy of a local file in place, whatever disk it is on, a piece at a time."""
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

    def guard(self, path: str) -> contextlib.AbstractContextManager[bool]:
        """A block that one process at a time enters for the folder of ``path``; gives whether the store can promise that."""
        ...

    def ensure(self) -> None:
        """Raise StorageError when the run directory is no longer where it was."""
        ...

    def unfinished(self) -> list[Any]:
        """Uploads in parts that a killed process left (``storage_remote.Upload``)."""
        ...

    def abort(self, upload: Any) -> None:
        """Drop what is there of an unfinished upload."""
        ...


def open_store(url: str) -> Store:
    """The store of a path or fsspec URL (``work``, ``s3://bucket/run``); raises UsageError for one that cannot be reached."""
    if "://" in url and not url.startswith("file://"):
        from pipeline.storage_remote import remote_store

        return remote_store(url)
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
        # Which folder of which disk this is. Pickled along, so that a worker started after an unmount knows better, too.
        self._identity = self._folder()

    def _folder(self) -> tuple[int, int] | None:
        try:
            about = self.root.stat()
        except OSError:
            return None
        return about.st_dev, about.st_ino

    def ensure(self) -> None:
        if self._identity is not None and self._folder() != self._identity:
            raise StorageError(
                f"the run directory '{self.url}' is gone: its disk was unmounted, or it was moved away; bring it back and run "
                "the same command again, what was committed is intact"
            )

    def unfinished(self) -> list[Any]:
        return []

    def abort(self, upload: Any) -> None:
        """There are none."""

    def local(self, path: str) -> Path:
        """The real path of a file."""
        return self.root / path

    def read(self, path: str) -> bytes:
        try:
            return self.local(path).read_bytes()
        except FileNotFoundError:
            self.ensure()
            raise

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        try:
            with open(self.local(path), "rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:
            self.ensure()
            raise

    def _parent_of(self, target: Path) -> None:
        """Make the folder of a file; never on the bare mount point of a disk that went away."""
        self.ensure()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._identity = self._identity or self._folder()

    def _write_aside(self, path: str, data: bytes | BinaryIO) -> Path:
        target = self.local(path)
        self._parent_of(target)
        aside = target.with_name(f"{target.name}.partial.{socket.gethostname()}.{os.getpid()}-{get_native_id()}")
        try:
            with open(aside, "wb") as file:
                shutil.copyfileobj(io.BytesIO(data) if isinstance(data, bytes) else data, file, PIECE)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()  # a full disk needs its bytes back
            raise
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
            self._parent_of(target)
            os.replace(local, target)
            fsync_folder(target.parent)

    def copy_in(self, local: Path, path: str) -> None:
        with open(local, "rb") as file, storage_errors(f"{self.url}/{path}"):
            aside = self._write_aside(path, file)
            os.replace(aside, self.local(path))
            fsync_folder(self.local(path).parent)

    def exists(self, path: str) -> bool:
        there = self.local(path).exists()
        if not there:
            self.ensure()
        return there

    def size(self, path: str) -> int:
        return self.local(path).stat().st_size

    def names(self, folder: str) -> list[str]:
        if self.local(folder).is_dir():
            return sorted(os.listdir(self.local(folder)))
        self.ensure()
        return []

    def remove(self, path: str) -> None:
        target = self.local(path)
        with storage_errors(f"{self.url}/{path}"):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        with storage_errors(f"{self.url}/{to}"):
            self._parent_of(self.local(to))
            os.replace(self.local(path), self.local(to))
            fsync_folder(self.local(to).parent)

    @contextmanager
    def guard(self, path: str) -> Iterator[bool]:
        folder = self.local(path).parent
        with storage_errors(str(folder)):
            self._parent_of(folder / "any")
            descriptor = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go by the kernel when its owner dies
                exclusive = True
            except OSError:  # a network file system without it
                exclusive = False
            yield exclusive
        finally:
            os.close(descriptor)


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """Digest and size of the rest of an open file."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(PIECE):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def describe(data: bytes | Path) -> dict[str, Any]:
    """What a receipt says of a file, given its bytes or where it is: its size and sha256."""
    with io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb") as file:
        sha256, size = sha256_of(file)
    return {"size": size, "sha256": sha256}
