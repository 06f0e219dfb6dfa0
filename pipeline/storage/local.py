"""A run directory in a local folder.

A file is written under a temporary name, flushed (fsync) and renamed, and its folder is flushed: it survives a power loss.
"""

import contextlib
import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pipeline.core.errors import StorageError, UsageError
from pipeline.storage.base import CHUNK, Upload, inside, removable, storage_errors


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
        # Device and inode of the folder. They are pickled, so that a worker started after an unmount notices it, too.
        self._identity = self._folder()

    def _folder(self) -> tuple[int, int] | None:
        try:
            stat = self.local_root.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def ensure(self) -> None:
        if self._identity is not None and self._folder() != self._identity:
            raise StorageError(
                f"the run directory '{self.url}' is gone: its disk was unmounted, or it was moved away; bring it back and run "
                "the same command again, what was committed is intact"
            )

    def unfinished(self) -> list[Upload]:
        return []

    def abort(self, upload: Upload) -> None:
        """A local folder has no multipart uploads."""

    def scratch_folder(self) -> Path:
        return self.local_root  # the same disk, so that ``adopt`` is a rename

    def local(self, path: str) -> Path:
        """The path of a file on this machine. Raises RefusedError for one outside of the run directory."""
        return self.local_root / inside(path, self.url)

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

    def _make_parent(self, target: Path) -> None:
        """Make the folder of a file. Raises StorageError rather than write to the mount point of an unmounted disk."""
        self.ensure()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._identity = self._identity or self._folder()

    def _write_temporary(self, path: str, data: bytes | BinaryIO) -> Path:
        target = self.local(path)
        self._make_parent(target)
        # Host names and process ids may be the same in two containers on a shared disk.
        temporary = target.with_name(f"{target.name}.partial.{uuid4().hex}")
        try:
            with open(temporary, "wb") as file:
                shutil.copyfileobj(io.BytesIO(data) if isinstance(data, bytes) else data, file, CHUNK)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()  # frees the space on a full disk
            raise
        return temporary

    def write(self, path: str, data: bytes) -> None:
        with storage_errors(f"{self.url}/{path}"):
            temporary = self._write_temporary(path, data)
            self._rename(temporary, self.local(path))

    @staticmethod
    def _rename(source: Path, target: Path) -> None:
        """Give a complete file its name, replacing one of that name."""
        same = os.stat(source)
        try:
            os.replace(source, target)
        except FileNotFoundError:
            if not target.exists() or not os.path.samestat(
                os.stat(target), same
            ):  # else NFS did it, and its answer was lost
                raise
        fsync_folder(target.parent)

    def create(self, path: str, data: bytes) -> bool:
        with storage_errors(f"{self.url}/{path}"):
            return self._link(self._write_temporary(path, data), path)

    def _link(self, temporary: Path, path: str) -> bool:
        """Give a complete file its name, unless that exists, and take the temporary one away."""
        try:
            # A hard link fails when the name exists, and the file is already complete; O_EXCL alone could leave a partial file.
            os.link(temporary, self.local(path))
        except FileExistsError:
            if os.stat(temporary).st_nlink < 2:  # else NFS made the link, and its answer was lost
                return False
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(self.local(path).parent)
        return True

    def create_from(self, local: Path, path: str, *, move: bool) -> bool:
        target = self.local(path)
        with storage_errors(f"{self.url}/{path}"):
            self._make_parent(target)
            if not move or os.stat(local).st_dev != os.stat(target.parent).st_dev:
                with open(local, "rb") as file:
                    return self._link(self._write_temporary(path, file), path)
            try:
                os.link(local, target)
            except FileExistsError:
                if not target.exists() or not os.path.samefile(local, target):  # else the answer to our link was lost
                    return False
            local.unlink()  # what is appended to it must not reach the file in place
            fsync_folder(target.parent)
            return True

    def adopt(self, local: Path, path: str) -> None:
        target = self.local(path)
        with storage_errors(f"{self.url}/{path}"):
            self._make_parent(target)
            self._rename(local, target)

    def copy_in(self, local: Path, path: str) -> None:
        with open(local, "rb") as file, storage_errors(f"{self.url}/{path}"):
            self._rename(self._write_temporary(path, file), self.local(path))

    def exists(self, path: str) -> bool:
        exists = self.local(path).exists()
        if not exists:
            self.ensure()
        return exists

    def size(self, path: str) -> int:
        return self.local(path).stat().st_size

    def names(self, folder: str) -> list[str]:
        if self.local(folder).is_dir():
            return sorted(os.listdir(self.local(folder)))
        self.ensure()
        return []

    def remove(self, path: str) -> None:
        target = self.local(removable(path, self.url))
        with storage_errors(f"{self.url}/{path}"):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def etag(self, path: str) -> str:
        return ""  # ``guard`` excludes the others

    def remove_if(self, path: str, etag: str) -> None:
        self.remove(path)

    def replace_if(self, path: str, data: bytes, etag: str) -> bool:
        self.write(path, data)
        return True

    def move(self, path: str, to: str) -> None:
        removable(path, self.url)
        with storage_errors(f"{self.url}/{to}"):
            self._make_parent(self.local(to))
            self._rename(self.local(path), self.local(to))

    @contextmanager
    def guard(self, path: str) -> Iterator[bool]:
        folder = self.local(path).parent
        with storage_errors(str(folder)):
            self._make_parent(folder / "any")
            descriptor = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # released by the kernel when its owner dies
                exclusive = True
            except OSError:  # a network file system without flock
                exclusive = False
            yield exclusive
        finally:
            os.close(descriptor)
