"""Whole files on HDFS: written under another name, then renamed, which HDFS does for one writer only.

A plain HDFS rename fails when its target exists, and that is the create-if-absent that receipts and locks need; CREATE with
``overwrite=false`` would be exclusive, too, but leaves half a file under the final name when its writer dies.
"""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import uuid4

PIECE = 4 << 20


class HadoopFiles(Protocol):
    """What differs between the two ways to HDFS."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Bytes of a file from ``offset``: ``size`` of them, or all (-1). Raises OSError."""
        ...

    def put(self, path: str, data: bytes | Path, *, replace: bool) -> bool:
        """Put a whole file in place; False when there is one and it may not be replaced. Raises OSError."""
        ...

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        """Rename a file or folder into a folder that is there; False when the target exists, or there is nothing to rename."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file or folder, if it is there."""
        ...


class _Files:
    """What they share: the way of a file into its place. A try that failed leaves nothing; the next begins with a new name."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        return bytes(self._fs.cat_file(path, start=offset, end=None if size < 0 else offset + size))

    def put(self, path: str, data: bytes | Path, *, replace: bool) -> bool:
        folder, name = path.rsplit("/", 1)
        aside = f"{folder}/{name}.partial.{socket.gethostname()}.{os.getpid()}-{uuid4().hex[:8]}"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            with self._fs.open(aside, "wb", block_size=PIECE) as file:
                _pour(data, file)
            return self.rename(aside, path, replace=replace)
        finally:
            with contextlib.suppress(OSError):
                self.remove(aside)

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        raise NotImplementedError

    def remove(self, path: str) -> None:
        raise NotImplementedError


def _pour(data: bytes | Path, file: BinaryIO) -> None:
    if isinstance(data, bytes):
        file.write(data)
        return
    with open(data, "rb") as source:
        shutil.copyfileobj(source, file, PIECE)


class WebHdfsFiles(_Files):
    """Over HTTP, by fsspec's client, made strict (``pipeline.storage.webhdfs``)."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """In two requests; fsspec's file object would ask for the status first, and read further than it was asked."""
        part = {"offset": offset, **({} if size < 0 else {"length": size})}
        answer = self._fs._call("OPEN", path=path, redirect=False, **part)
        if "Location" in answer.headers:
            answer = self._fs.session.get(self._fs._apply_proxy(answer.headers["Location"]))
        return bytes(answer.content)

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        if replace and self._moved(path, to, renameoptions="OVERWRITE"):
            return True
        if self._moved(path, to):
            return True
        if not replace:
            return False
        self.remove(to)  # a gateway that does not know the option: for a moment there is no file of that name
        if not self._moved(path, to):
            raise OSError(f"'{path}' could not be renamed to '{to}'")
        return True

    def _moved(self, path: str, to: str, **options: str) -> bool:
        try:
            answer = self._fs._call("RENAME", method="put", path=path, destination=to, **options)
        except FileExistsError:
            return False
        # With options the answer is empty, without it says whether anything was done.
        return bool(answer.json()["boolean"]) if answer.content else True

    def remove(self, path: str) -> None:
        self._fs.rm(path, recursive=True)  # the answer is "false", not an error, when there is no such file


class PyarrowFiles(_Files):
    """Over Hadoop's own protocol, by pyarrow and libhdfs."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        with self._fs.open(path, "rb", seekable=True) as file:  # cat_file's stream is one that cannot seek
            file.seek(offset)
            return bytes(file.read(size) if size >= 0 else file.read())

    def rename(self, path: str, to: str, *, replace: bool) -> bool:
        if replace:
            self.remove(to)  # libhdfs has no rename that replaces: for a moment there is no file of that name
        try:
            self._fs.mv(path, to)
        except OSError:
            if self._fs.exists(to):
                return False
            raise
        return True

    def remove(self, path: str) -> None:
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)
