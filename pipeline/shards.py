"""Deterministic USTAR files: identical members give identical bytes, and every member's place is known as it is written.

Regular files only, uid = gid = 0, mode 0644, mtime 0 (DESIGN 5). No long names: at most 90 characters.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.errors import DamagedDataError, UsageError

BLOCK = 512
MAX_NAME = 90
# Two zero blocks end an archive; GNU tar pads to 20 blocks but readers need only these.
END = bytes(2 * BLOCK)
_NAME = re.compile(r"^[a-z0-9_-]+\.[a-z0-9]+$")


def header(name: str, size: int) -> bytes:
    """One USTAR header; raises UsageError for a name that breaks the shard rules."""
    if not _NAME.match(name) or len(name) > MAX_NAME:
        raise UsageError(f"'{name}' cannot be a shard member: want [a-z0-9_-]+.ext, at most {MAX_NAME} characters")
    fields = b"".join(
        (
            name.encode().ljust(100, b"\0"),
            b"0000644\0" + b"0000000\0" * 2,
            b"%011o\0" % size,
            b"00000000000\0",
            b" " * 8,
            b"0" + bytes(100),
            b"ustar\00000" + bytes(64),
            b"0000000\0" * 2,
        )
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


class TarWriter:
    """Appends members to an open binary file; ``add`` tells where the member's bytes lie."""

    def __init__(self, out: BinaryIO, offset: int = 0) -> None:
        self._out = out
        self.offset = offset

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write one member and give (offset of its bytes, their number)."""
        start = self.offset + BLOCK
        padding = -len(data) % BLOCK
        self._out.write(header(name, len(data)) + data + bytes(padding))
        self.offset = start + len(data) + padding
        return start, len(data)

    def finish(self) -> None:
        """End the archive."""
        self._out.write(END)
        self.offset += len(END)


def members(source: BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """Name, offset and bytes of each member of a tar that we wrote; raises DamagedDataError at the first bad block."""
    offset = 0
    while True:
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            raise DamagedDataError(f"tar ends early at byte {offset + len(block)}")
        if block == bytes(BLOCK):
            return
        name, size = _parse(block, offset)
        data = source.read(size)
        source.read(-size % BLOCK)
        if len(data) < size:
            raise DamagedDataError(f"tar member '{name}' at byte {offset} is cut: {len(data)} of {size} bytes")
        yield name, offset + BLOCK, data
        offset += BLOCK + size + (-size % BLOCK)


def _parse(block: bytes, offset: int) -> tuple[str, int]:
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        size, checksum = int(block[124:135], 8), int(block[148:154], 8)
    except ValueError as error:
        raise DamagedDataError(f"tar header at byte {offset} is not readable: {error}") from error
    if sum(block[:148]) + 8 * ord(" ") + sum(block[156:]) != checksum:
        raise DamagedDataError(f"tar header at byte {offset} has a wrong checksum")
    return name, size
