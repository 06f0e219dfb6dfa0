"""The storage protocol. A reader never sees a partial file, and ``create`` succeeds for one writer only."""

import contextlib
import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, TypedDict

from pipeline.core.errors import DamagedDataError, RefusedError, StorageError

CHUNK = 1 << 20
_FULL_OR_READ_ONLY = {
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO, errno.ENOTDIR,
    errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT,
}  # fmt: skip


def inside(path: str, url: str) -> str:
    """The same path, when it lies within a run directory. Every path that a store uses passes here, whoever made it.

    Raises RefusedError for an absolute path, one with ``..``, or one that no system could take.
    """
    parts = path.split("/")
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path or "\\" in path:
        raise RefusedError(
            f"{path!r} leads outside of the run directory '{url}': nothing is read, written or removed there"
        )
    return path


def removable(path: str, url: str) -> str:
    """As ``inside``, but not the run directory itself."""
    if not inside(path, url).strip("./"):
        raise RefusedError(f"{path!r} is the run directory '{url}' itself, which is never removed or moved as a whole")
    return path


def private_folder(path: Path) -> Path:
    """A folder that this user alone can enter, made when it is missing. In a folder that all users write to, another one could
    have prepared it. Raises StorageError when it is not ours, or a link.
    """
    with storage_errors(str(path)), contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    about = os.lstat(path)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise StorageError(
            f"'{path}' is a link or belongs to another user, so nothing is written there: remove it, or set TMPDIR to a folder of "
            "your own"
        )
    if about.st_mode & 0o077:
        os.chmod(path, 0o700)
    return path


class FileInfo(TypedDict):
    """What a receipt records about a file: its size in bytes and its sha256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was neither completed nor aborted.

    Args:
        path: of the file, relative to the run directory.
        number: the upload id that the store gave.
        begun: when it was started, with time zone.
    """

    path: str
    number: str
    begun: datetime


class Store(Protocol):
    """A run directory. Paths are relative to it, with '/' between folders. Failed writes raise StorageError, and paths
    that lead outside of it RefusedError.
    """

    url: str

    @property
    def local_root(self) -> Path | None:
        """The folder of this machine that the run directory is; None when it is on a remote store."""
        ...

    def scratch_folder(self) -> Path:
        """Where a worker may write a file before ``adopt``: a local folder, the same one after a restart, perhaps not yet made."""
        ...

    def read(self, path: str) -> bytes:
        """All bytes of a file; raises FileNotFoundError."""
        ...

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """Bytes ``offset`` to ``offset + size`` of a file."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, replacing one of that name."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a whole file unless the name exists; False when it does."""
        ...

    def adopt(self, local: Path, path: str) -> None:
        """Move a finished local file into the store under ``path``."""
        ...

    def create_from(self, local: Path, path: str, *, move: bool) -> bool:
        """Put a finished local file under a name unless it exists; False when it does. move: whether the local file may go."""
        ...

    def copy_in(self, local: Path, path: str) -> None:
        """Copy a local file, from whatever disk it is on, into the store in chunks."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or folder exists."""
        ...

    def size(self, path: str) -> int:
        """Bytes of a file; raises FileNotFoundError."""
        ...

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; empty when there is none."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file or folder, if it exists."""
        ...

    def etag(self, path: str) -> str:
        """What identifies the bytes under a name, for the next two; empty where the store has no such thing, or no such file."""
        ...

    def remove_if(self, path: str, etag: str) -> None:
        """Delete a file, on stores with etags only while it has this one."""
        ...

    def replace_if(self, path: str, data: bytes, etag: str) -> bool:
        """Replace a file, on stores with etags only while it has this one; False when it has not."""
        ...

    def move(self, path: str, to: str) -> None:
        """Rename a file or folder."""
        ...

    def guard(self, path: str) -> contextlib.AbstractContextManager[bool]:
        """A critical section for the folder of ``path``; yields whether the store guarantees that only one process is in it."""
        ...

    def ensure(self) -> None:
        """Raise StorageError when the run directory was unmounted or moved away."""
        ...

    def unfinished(self) -> list[Upload]:
        """Multipart uploads under the run directory that were not completed; empty where the store has none."""
        ...

    def abort(self, upload: Upload) -> None:
        """Delete the parts of an unfinished upload."""
        ...


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Raise StorageError in place of the OSError of a full, read-only or lost disk; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_OR_READ_ONLY:
            raise StorageError(
                f"cannot write '{where}': {error.strerror}; what was committed is intact, "
                "free the disk or fix its permissions and run the same command again"
            ) from error
        raise


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """sha256 and number of bytes of an open file, from its current position to its end."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def checked(data: bytes, sha256: str, where: str) -> bytes:
    """The same bytes, when they are those that were recorded as they were written; raises DamagedDataError when they are not."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedDataError(
            f"{where} is not what was recorded when it was written, so nothing is made from it: see 'procrop-data verify --repair'"
        )
    return data


def describe(data: bytes | Path) -> FileInfo:
    """What a receipt records about a file, given as bytes or as a local path."""
    with io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb") as file:
        sha256, size = sha256_of(file)
    return {"size": size, "sha256": sha256}
