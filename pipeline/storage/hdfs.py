"""Whole files on HDFS: written under a temporary name, then renamed, which succeeds for one writer only.

A plain HDFS rename fails when its target exists: that is the create-if-absent that receipts and locks need. CREATE with
``overwrite=false`` is exclusive, too, but leaves a partial file under the final name when its writer dies.
"""

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CHUNK = 4 << 20  # bytes of one write; WebHDFS makes a request of each


class HadoopFiles(Protocol):
    """The operations of HDFS that a store needs. They raise OSError."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Bytes of a file from ``offset``: ``size`` of them, or all (-1)."""
        ...

    def put(self, path: str, data: bytes | Path, *, replace: bool) -> bool:
        """Write a whole file; False when it exists and must not be replaced."""
        ...

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        """Rename into an existing folder; False when the target exists or the source does not."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file or folder, if it exists."""
        ...


class _Files:
    """Writing under a temporary name and renaming. A failed attempt leaves nothing; the next one takes a new name."""

    def __init__(self, fs: "AbstractFileSystem") -> None:
        self._fs = fs

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        return bytes(self._fs.cat_file(path, start=offset, end=None if size < 0 else offset + size))

    def put(self, path: str, data: bytes | Path, *, replace: bool) -> bool:
        folder, name = path.rsplit("/", 1)
        temporary = f"{folder}/{name}.partial.{uuid4().hex}"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            with self._fs.open(temporary, "wb", block_size=CHUNK) as file:
                _copy_into(data, file)
            return self.rename(temporary, path, replace=replace)
        finally:
            with contextlib.suppress(OSError):
                self.remove(temporary)

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        raise NotImplementedError

    def remove(self, path: str) -> None:
        raise NotImplementedError


def _copy_into(data: bytes | Path, file: BinaryIO) -> None:
    if isinstance(data, bytes):
        file.write(data)
        return
    with open(data, "rb") as source:
        shutil.copyfileobj(source, file, CHUNK)


class WebHdfsFiles(_Files):
    """WebHDFS through fsspec's client with timeouts and checks (``pipeline.storage.webhdfs``)."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """In two requests; fsspec's file object would make a third for the status, and read ahead."""
        part = {"offset": offset, **({} if size < 0 else {"length": size})}
        response = self._fs._call("OPEN", path=path, redirect=False, **part)
        if "Location" in response.headers:
            response = self._fs.session.get(self._fs._apply_proxy(response.headers["Location"]))
        return bytes(response.content)

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        if replace and self._try_rename(path, to, renameoptions="OVERWRITE"):
            return True
        if self._try_rename(path, to):
            return True
        if not replace:
            return False
        self.remove(to)  # a gateway without the option: for a moment the file does not exist
        if not self._try_rename(path, to):
            raise OSError(f"'{path}' could not be renamed to '{to}'")
        return True

    def _try_rename(self, path: str, to: str, **options: str) -> bool:
        try:
            response = self._fs._call("RENAME", method="put", path=path, destination=to, **options)
        except FileExistsError:
            return False
        # With options the response is empty; without, it says whether the rename was done.
        return bool(response.json()["boolean"]) if response.content else True

    def remove(self, path: str) -> None:
        self._fs.rm(path, recursive=True)  # the response is "false", not an error, when the file does not exist
