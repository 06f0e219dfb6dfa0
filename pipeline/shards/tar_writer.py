"""Deterministic USTAR files: identical members give identical bytes. The offset of every member is known when it is written.

Regular files only, uid = gid = 0, mode 0644, mtime 0 (DESIGN 5). No long names: at most 90 characters.
"""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from pipeline.core.errors import DamagedDataError, UsageError

BLOCK = 512
MAX_NAME = 90
# Two zero blocks end an archive; GNU tar pads to 20 blocks, which readers do not need.
END = bytes(2 * BLOCK)
_NAME = re.compile(r"^[a-z0-9_-]+\.[a-z0-9]+$")


# A header without name, size and checksum; the checksum field counts as blanks in the sum.
_TEMPLATE = b"".join(
    (
        bytes(100),
        b"0000644\0" + b"0000000\0" * 2,
        bytes(12),
        b"00000000000\0",
        b" " * 8,
        b"0" + bytes(100),
        b"ustar\00000" + bytes(64),
        b"0000000\0" * 2,
    )
).ljust(BLOCK, b"\0")
_MIDDLE, _AFTER_SIZE, _AFTER_SUM = _TEMPLATE[100:124], _TEMPLATE[136:148], _TEMPLATE[156:]
_SUM = sum(_TEMPLATE)
_PADDING = [bytes(size) for size in range(BLOCK)]


def header(name: str, size: int) -> bytes:
    """One USTAR header; raises UsageError for a name that breaks the shard rules."""
    if not _NAME.match(name) or len(name) > MAX_NAME:
        raise UsageError(f"'{name}' cannot be a shard member: want [a-z0-9_-]+.ext, at most {MAX_NAME} characters")
    encoded, length = name.encode(), b"%011o\0" % size
    checksum = b"%06o\0 " % (_SUM + sum(encoded) + sum(length))
    return encoded.ljust(100, b"\0") + _MIDDLE + length + _AFTER_SIZE + checksum + _AFTER_SUM


class TarOutput(Protocol):
    """The target of a ``TarWriter``: an open binary file, or a ``HashedFile``."""

    def write(self, data: bytes, /) -> object: ...


class TarWriter:
    """Appends members to a file. ``places`` holds (name, offset, size) of all members in order.

    Args:
        out: the file.
        offset: bytes that it holds already.
        places: members that it holds already.
    """

    def __init__(self, out: TarOutput, offset: int = 0, places: Iterable[tuple[str, int, int]] = ()) -> None:
        self._out = out
        self.offset = offset
        self.places = list(places)

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write one member; gives offset and size of its bytes."""
        start, size = self.offset + BLOCK, len(data)
        self._out.write(header(name, size))
        self._out.write(data)
        padding = -size % BLOCK
        if padding:
            self._out.write(_PADDING[padding])
        self.offset = start + size + padding
        self.places.append((name, start, size))
        return start, size

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
            raise DamagedDataError(f"tar member '{name}' at byte {offset} is truncated: {len(data)} of {size} bytes")
        yield name, offset + BLOCK, data
        offset += BLOCK + size + (-size % BLOCK)


def _parse(block: bytes, offset: int) -> tuple[str, int]:
    try:
        name = block[:100].partition(b"\0")[0].decode("ascii")
        size, checksum = _octal(block[124:135]), _octal(block[148:154])
    except ValueError as error:
        raise DamagedDataError(f"tar header at byte {offset} is not readable: {error}") from error
    if sum(block[:148]) + 8 * ord(" ") + sum(block[156:]) != checksum:
        raise DamagedDataError(f"tar header at byte {offset} has a wrong checksum")
    return name, size


def _octal(field: bytes) -> int:
    """The value of a field of digits. ``int`` alone would take a sign, with which a size leads backwards."""
    digits = field.strip(b" \0")
    if not digits.isdigit():
        raise ValueError(f"{field!r} is no number")
    return int(digits, 8)


def places_of(source: BinaryIO, end: int) -> list[tuple[str, int, int]]:
    """Name, offset and size of each member in the first ``end`` bytes of a tar, from its headers alone: regular files of plain
    USTAR names. Raises DamagedDataError at the first other block and at a cut member.
    """
    places, offset = [], 0
    while offset < end:
        source.seek(offset)
        block = source.read(BLOCK)
        if block == bytes(BLOCK):
            break
        if len(block) < BLOCK or block[156:157] not in (b"0", b"\0") or block[345:346] != b"\0":
            raise DamagedDataError(f"tar header at byte {offset} is truncated, or not of a regular file")
        name, size = _parse(block, offset)
        start = offset + BLOCK
        offset = start + size + (-size % BLOCK)
        if offset > end:
            raise DamagedDataError(
                f"tar member '{name}' at byte {start - BLOCK} is truncated: the file has {end} bytes"
            )
        places.append((name, start, size))
    return places
