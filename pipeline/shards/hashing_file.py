"""A file that is written front to back and hashed on the way, so that nobody has to read it again to vouch for it.

Bytes gather in aligned blocks. A full block is hashed in one thread while another writes it past the page cache (O_DIRECT, where
the file system has it): measured, that keeps the disk busy from the first block on, where a buffered file leaves all of it to
``fsync``, and it does not push what other processes read out of memory. Blocks that a ``sync`` cut in two go through the cache.
"""

import contextlib
import hashlib
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

BLOCK = 4 << 20
BLOCKS = 4  # in flight: one being filled, one hashed, one written, one to spare
WRITERS = 2


class HashedFile:
    """Appends to a file; ``sync`` makes it durable so far, ``hexdigest`` tells the sha256 of what was synced.

    length: bytes that are there already and stay; they are read once and hashed, and what follows them is cut off. Methods
    raise OSError, also for what failed in a thread since the last call.
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
                self._hand_over()

    def _hand_over(self) -> None:
        """Give the full block to the threads and go on with another one."""
        if self._threads is None:
            self._threads = (ThreadPoolExecutor(1, "hash"), ThreadPoolExecutor(WRITERS, "write"))
            with contextlib.suppress(OSError, AttributeError):  # file systems in memory refuse it, some systems lack it
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
            with contextlib.suppress(OSError):  # refused, or a real fault that the buffered write below meets again
                return os.pwrite(self._direct, part, offset)
        return os.pwrite(self._file, part, offset)

    def sync(self) -> None:
        """Make all that was written durable."""
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
        """Let go of file and threads; what was not synced is lost."""
        for pool in self._threads or ():
            pool.shutdown()
        for descriptor in (self._file, self._direct):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._direct = -1
