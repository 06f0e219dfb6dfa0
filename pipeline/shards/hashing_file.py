"""A file that is hashed while it is written, so that its sha256 needs no second read.

Bytes are collected in aligned blocks. One thread hashes a full block while another writes it past the page cache (O_DIRECT, where
the file system has it): measured, this keeps the disk busy from the first block on, while a buffered file leaves all writing to
``fsync``; and it does not evict the cached files of other processes. Blocks that a ``sync`` splits go through the page cache.
"""

import contextlib
import hashlib
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

BLOCK = 4 << 20  # bytes; a multiple of every alignment that O_DIRECT demands
BLOCKS = 4  # in memory: one being filled, one hashed, one written, one spare
WRITERS = 2  # the next write is queued while one is on the disk


class HashedFile:
    """Appends to a file; ``sync`` makes all written bytes durable, ``hexdigest`` gives the sha256 of what was synced.

    Methods raise OSError, also for what failed in a thread since the last call.

    Args:
        path: of the file; it is created when missing.
        length: bytes of an existing file to keep; they are read once and hashed, and the file is truncated to them.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._direct = -1
        self._digest = hashlib.sha256()
        self._block = mmap.mmap(-1, BLOCK)
        self._blocks = 1
        self._free: list[mmap.mmap] = []
        self._pending: deque[tuple[mmap.mmap, list[Future[None]]]] = deque()
        self._threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._base, self._fill = length - length % BLOCK, 0  # where the block lies in the file, bytes in it
        self._done = length % BLOCK  # bytes of the block that are hashed and in the file
        try:
            self._take_over(length)
        except BaseException:
            os.close(self._file)
            raise

    def _take_over(self, length: int) -> None:
        os.ftruncate(self._file, length)
        for start in range(0, length, BLOCK):
            part = os.pread(self._file, min(BLOCK, length - start), start)
            self._digest.update(part)
            if start == self._base:
                self._block[: len(part)] = part
                self._fill = len(part)

    def write(self, data: bytes) -> None:
        """Append; the bytes are copied at once and written when a block is full."""
        end = self._fill + len(data)
        if end < BLOCK:
            self._block[self._fill : end] = data
            self._fill = end
            return
        rest = memoryview(data)
        while len(rest):
            part = rest[: BLOCK - self._fill]
            self._block[self._fill : self._fill + len(part)] = part
            self._fill += len(part)
            rest = rest[len(part) :]
            if self._fill == BLOCK:
                self._submit_block()

    def _submit_block(self) -> None:
        """Pass the full block to the threads and continue with another one."""
        if self._threads is None:
            self._threads = (ThreadPoolExecutor(1, "hash"), ThreadPoolExecutor(WRITERS, "write"))
            with contextlib.suppress(OSError, AttributeError):  # tmpfs refuses O_DIRECT, macOS lacks it
                self._direct = os.open(self.path, os.O_WRONLY | os.O_DIRECT)
        hashing, writing = self._threads
        jobs = [
            hashing.submit(self._hash, self._block, self._done, BLOCK),
            writing.submit(self._put, self._block, self._done, BLOCK, self._base),
        ]
        self._pending.append((self._block, jobs))
        self._base, self._fill, self._done = self._base + BLOCK, 0, 0
        self._block = self._next_block()

    def _next_block(self) -> mmap.mmap:
        if not self._free and self._blocks < BLOCKS:
            self._blocks += 1
            return mmap.mmap(-1, BLOCK)
        if not self._free:
            self._wait_for_oldest()
        return self._free.pop()

    def _wait_for_oldest(self) -> None:
        block, jobs = self._pending.popleft()
        for job in jobs:
            job.result()
        self._free.append(block)

    def _hash(self, block: mmap.mmap, start: int, end: int) -> None:
        with memoryview(block) as view, view[start:end] as part:
            self._digest.update(part)

    def _put(self, block: mmap.mmap, start: int, end: int, base: int) -> None:
        whole = start == 0 and end == BLOCK
        with memoryview(block) as view:
            while start < end:
                with view[start:end] as part:
                    start += self._pwrite(part, base + start, direct=whole and start == 0)

    def _pwrite(self, part: memoryview, offset: int, *, direct: bool) -> int:
        if direct and self._direct >= 0:
            with contextlib.suppress(OSError):  # refused, or an error that the buffered write below meets again
                return os.pwrite(self._direct, part, offset)
        return os.pwrite(self._file, part, offset)

    def sync(self) -> None:
        """Make all written bytes durable."""
        while self._pending:
            self._wait_for_oldest()
        if self._done < self._fill:
            self._hash(self._block, self._done, self._fill)
            self._put(self._block, self._done, self._fill, self._base)
            self._done = self._fill
        os.fsync(self._file)

    def hexdigest(self) -> str:
        """sha256 of the file up to the last ``sync``."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close file and threads; bytes that were not synced are lost."""
        for pool in self._threads or ():
            pool.shutdown()
        for descriptor in (self._file, self._direct):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._direct = -1
