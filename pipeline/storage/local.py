"""A run directory in a local folder. A file is written aside, flushed, renamed, its folder flushed: durable against power loss."""

import contextlib
import fcntl
import io
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id
from typing import Any, BinaryIO

from pipeline.core.errors import StorageError, UsageError
from pipeline.storage.base import PIECE, storage_errors


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
        self.local_root = root
        self.url = str(root)
        # Which folder of which disk this is. Pickled along, so that a worker started after an unmount knows better, too.
        self._identity = self._folder()

    def _folder(self) -> tuple[int, int] | None:
        try:
            about = self.local_root.stat()
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

    def scratch_folder(self) -> Path:
        return self.local_root  # the same disk, so that ``adopt`` is a rename

    def local(self, path: str) -> Path:
        """The real path of a file."""
        return self.local_root / path

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
