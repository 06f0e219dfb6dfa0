"""What every store promises: a reader never sees half a file, and ``create`` succeeds for one writer only."""

import contextlib
import errno
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.core.errors import StorageError

PIECE = 1 << 20
_FULL_OR_READ_ONLY = {
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO, errno.ENOTDIR,
    errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT,
}  # fmt: skip


class Store(Protocol):
    """A run directory. Paths are relative, with '/'."""

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
        """Uploads in parts that a killed process left (``pipeline.storage.object_store.Upload``)."""
        ...

    def abort(self, upload: Any) -> None:
        """Drop what is there of an unfinished upload."""
        ...


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
