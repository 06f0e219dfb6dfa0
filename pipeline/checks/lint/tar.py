"""Reads an untrusted tar block by block: reports what breaks the shard rules (DESIGN 5.2) and yields its members.

``tarfile`` silently repairs and skips what must be reported here, so the format (POSIX ustar, with the pax and GNU extensions
that the rules forbid) is parsed by hand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 20
LONGEST_NAME_RECORD = 1 << 16
REWRITE = (
    "write the shard again as plain USTAR (procrop-data build, or tar --format=ustar --owner=0 --group=0 --mtime=@0)"
)
# report(rule, byte offset, what, fix)
Report = Callable[[str, int, str, str], None]
KINDS = {b"1": "hard link", b"2": "symbolic link", b"3": "device", b"4": "device", b"5": "folder", b"6": "pipe"}
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd", b"PK": "zip"}


@dataclass(frozen=True)
class Member:
    """A regular file of a tar: ``offset`` of its header, ``start`` and ``size`` of its bytes."""

    name: str
    offset: int
    start: int
    size: int


def walk_members(file: BinaryIO, size: int, report: Report) -> Iterator[Member]:
    """Members of a tar of ``size`` bytes, as far as it can be read; never raises for any bytes."""
    offset, long_name = 0, ""
    while offset < size:
        block = _at(file, offset, BLOCK)
        if len(block) < BLOCK:
            report(
                "truncated",
                offset,
                f"the file ends {len(block)} bytes into a block",
                "copy the shard again, or build it again",
            )
            return
        if not any(block):
            _check_end(file, offset, size, report)
            return
        problem = _header_problem(block)
        if problem:
            packed = COMPRESSED.get(block[:2]) if offset == 0 else None
            following = None if packed else _resume(file, offset, size)
            _report_header(offset, problem, packed, report, whole=following is None)
            if following is None:
                return
            offset, long_name = following, ""
            continue
        length, kind = _number(block[124:136]) or 0, block[156:157]
        end = offset + BLOCK + length
        if end > size:
            have = size - offset - BLOCK
            what = f"member {_name(block)!r} is cut: {have} of {length} bytes"
            report("truncated", offset, what, "copy the shard again, or build it again")
            return
        if kind in b"xgLK":
            long_name = _long_name(file, offset, length, kind, report) or long_name
        elif kind in (b"0", b"\0", b"7"):
            _check_fields(block, offset, report)
            yield Member(long_name or _name(block), offset, offset + BLOCK, length)
            long_name = ""
        else:
            what = f"{_name(block)!r} is a {KINDS.get(kind, f'member of type {kind!r}')}, not a regular file"
            report("regular-files", offset, what, "leave it out: readers want files alone")
            long_name = ""
        offset = end + -end % BLOCK
        _check_padding(file, end, min(offset, size), report)
    report(
        "end-blocks", size, "no end of archive (two zero blocks)", "the writer did not close it: copy or build it again"
    )


def read_member(file: BinaryIO, member: Member, limit: int) -> bytes:
    """The bytes of a member, at most ``limit`` of them."""
    return _at(file, member.start, min(member.size, limit))


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _report_header(offset: int, problem: str, packed: str | None, report: Report, *, whole: bool) -> None:
    """whole: whether no header follows, so that a broken one at the start means another kind of file."""
    if packed:
        report("plain-tar", 0, f"not a plain tar: looks like {packed}", "unpack it: images do not compress further")
    elif offset == 0 and whole:
        report("plain-tar", 0, f"not a tar: {problem}", "remove the file, or copy it again")
    else:
        report("header", offset, problem, "the shard is damaged: copy it again, or build it again")


def _header_problem(block: bytes) -> str:
    checksum = _number(block[148:156])
    if checksum is None or checksum != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        return "the header's checksum is wrong"
    if _number(block[124:136]) is None:
        return "the header's size is not a number"
    return ""


def _resume(file: BinaryIO, offset: int, size: int) -> int | None:
    """Offset of the next valid header, so that one flipped bit hides one member only."""
    offset += BLOCK
    while offset + BLOCK <= size:
        chunk = _at(file, offset, CHUNK)
        for at in range(0, len(chunk) - BLOCK + 1, BLOCK):
            block = chunk[at : at + BLOCK]
            if block[257:262] == b"ustar" and not _header_problem(block):
                return offset + at
        offset += CHUNK
    return None


def _number(field: bytes) -> int | None:
    """An octal field, or the base-256 form of GNU tar; None when it is neither or negative."""
    if field[:1] and field[0] & 0x80:
        return None if field[0] == 0xFF else int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if not digits:
        return 0
    return int(digits, 8) if digits.isdigit() and not (b"8" in digits or b"9" in digits) else None


def _name(block: bytes) -> str:
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    if prefix and block[257:263] == b"ustar\0":
        name = prefix + b"/" + name
    return name.decode("utf-8", "backslashreplace")


def _check_fields(block: bytes, offset: int, report: Report) -> None:
    name = _name(block)
    if block[257:265] != b"ustar\x0000":
        form = "GNU" if block[257:262] == b"ustar" else "pre-POSIX"
        report("ustar", offset, f"{name!r} has a {form} header, not USTAR", REWRITE)
    uid, gid, mtime, mode = (_number(block[a:b]) for a, b in ((108, 116), (116, 124), (136, 148), (100, 108)))
    if uid != 0 or gid != 0:
        report("owner", offset, f"{name!r} has uid {uid} and gid {gid}, want 0 and 0", REWRITE)
    if mtime != 0:
        report("mtime", offset, f"{name!r} has mtime {mtime}, want 0: the same input must give the same shard", REWRITE)
    if mode != 0o644:
        report(
            "mode", offset, f"{name!r} has mode {'unreadable' if mode is None else oct(mode)[2:]}, want 644", REWRITE
        )


def _long_name(file: BinaryIO, offset: int, size: int, kind: bytes, report: Report) -> str:
    """Report a pax or GNU record; gives the name that it holds for the next member, if it holds one."""
    data = _at(file, offset + BLOCK, min(size, LONGEST_NAME_RECORD))
    if kind in b"LK":
        report("no-long-names", offset, "a GNU long name record", REWRITE)
        return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace") if kind == b"L" else ""
    keys = [record.split(b" ", 1)[-1].split(b"=", 1) for record in data.split(b"\n") if b"=" in record]
    words = ", ".join(sorted({key.decode("utf-8", "backslashreplace")[:40] for key, _ in keys})) or "nothing readable"
    report("no-pax", offset, f"a pax record ({words})", REWRITE)
    paths = [value for key, value in keys if key == b"path"]
    return paths[-1].decode("utf-8", "backslashreplace") if paths and kind == b"x" else ""


def _check_padding(file: BinaryIO, start: int, end: int, report: Report) -> None:
    if any(_at(file, start, end - start)):
        report(
            "padding",
            start,
            f"{end - start} bytes after a member are not zero",
            "the shard is damaged, or its writer: build it again",
        )


def _check_end(file: BinaryIO, offset: int, size: int, report: Report) -> None:
    """Check the end of the archive, from the first zero block on: two zero blocks, whole blocks, nothing but zeros after."""
    if size - offset < 2 * BLOCK:
        report(
            "end-blocks", offset, "one zero block at the end, want two", "the writer did not close it: build it again"
        )
    elif size % BLOCK:
        report("end-blocks", size, f"{size} bytes are not whole blocks of {BLOCK}", "copy the shard again")
    at = offset
    while at < size:
        chunk = _at(file, at, CHUNK)
        if not chunk:
            return
        if any(chunk):
            first = at + len(chunk) - len(chunk.lstrip(b"\0"))
            what = f"bytes after the end of the archive (at {offset}): readers stop there and lose the rest"
            report("end-blocks", first, what, "tars cannot be joined by cat: write the samples into one")
            return
        at += len(chunk)
