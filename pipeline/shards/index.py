"""Index of a shard: offset and size of every member of every sample. It is written with the tar and read by ``ShardSet``.

An index file (``dataset/index/<name of the tar>.idx``) is, one after another:

1. one line of JSON, filled up with blanks to a multiple of 8 bytes: ``format``, ``tar_size``, ``samples`` (n), ``extensions``
   (m of them), ``key_bytes`` (w) and the ``sha256`` of all that follows the line;
2. n x m x 2 little-endian int64: offset and size of each member's bytes, -1 and 0 for a part that a sample lacks;
3. n x w bytes: the samples' keys in the tar's order, zeros after shorter ones.

It is 48 + w bytes for a sample of three parts, and loads without touching the tar. ``scan_tar`` makes one from any tar.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DamagedDataError
from pipeline.shards.tar_writer import BLOCK, places_of

FORMAT = "procrop-index-1"
# As webdataset splits names: the key ends at the first dot after the last slash.
_NAME = re.compile(r"^((?:.*/)?[^./]+)\.([^/]+)$")
_META = re.compile(r"^__[^/]*__($|/)")
Place = tuple[str, int, int]
# What tarfile raises for headers that it does not understand; RecursionError: for a long chain of long names.
_BROKEN_TAR = (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError, LookupError)


@dataclass(frozen=True)
class ShardIndex:
    """Members of a tar, by sample and extension.

    Args:
        keys: bytes [n], in the order of the tar.
        extensions: m names.
        places: int64 [n, m, 2]: offset and size in bytes of each part, (-1, 0) where a sample lacks it.
        tar_size: bytes of the tar.
    """

    keys: NDArray[np.bytes_]
    extensions: tuple[str, ...]
    places: NDArray[np.int64]
    tar_size: int

    def __len__(self) -> int:
        return len(self.keys)

    @staticmethod
    def of(members: Iterable[Place], tar_size: int, where: str) -> "ShardIndex":
        """The index of the members (name, offset, size) of a tar, in its order. Members without extension, and ``__meta__``, are
        left out. Raises DamagedDataError for a sample with two members of one extension. where: names the tar in errors.
        """
        keys: list[bytes] = []
        samples: list[dict[str, tuple[int, int]]] = []
        extensions: dict[str, None] = {}
        for name, offset, size in members:
            split = _NAME.match(name)
            if split is None or _META.match(name):
                continue
            key, extension = split[1].encode("utf-8", "surrogateescape"), split[2].lower()
            if not keys or keys[-1] != key:
                keys.append(key)
                samples.append({})
            if extension in samples[-1]:
                raise DamagedDataError(f"'{name}' is twice in one sample of {where}")
            samples[-1][extension] = (offset, size)
            extensions[extension] = None
        absent = (-1, 0)
        table = [[sample.get(extension, absent) for extension in extensions] for sample in samples]
        places = np.array(table, np.int64).reshape(len(keys), len(extensions), 2)  # [n, m, 2]
        width = max((len(key) for key in keys), default=1)
        return ShardIndex(np.array(keys, f"S{width}"), tuple(extensions), places, tar_size)

    def encode(self) -> bytes:
        """The bytes of an index file, the same for the same tar."""
        body = self.places.astype("<i8").tobytes() + self.keys.tobytes()
        head: _Head = {
            "format": FORMAT, "tar_size": self.tar_size, "samples": len(self), "extensions": self.extensions,
            "key_bytes": self.keys.dtype.itemsize, "sha256": hashlib.sha256(body).hexdigest(),
        }  # fmt: skip
        line = json.dumps(head).encode()
        return line + b" " * (-(len(line) + 1) % 8) + b"\n" + body

    @staticmethod
    def decode(data: bytes, where: str) -> "ShardIndex":
        """An index from its file's bytes; raises DamagedDataError when they are damaged or of another format."""
        line, _, _ = data.partition(b"\n")
        try:
            head: _Head = json.loads(line)
            if head["format"] != FORMAT:
                raise DamagedDataError(f"the index {where} has format {head['format']!r}, this version reads {FORMAT}")
            index = _decode(head, data, len(line) + 1)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise _damaged(where, f"it is not readable ({error})") from error
        if hashlib.sha256(memoryview(data)[len(line) + 1 :]).hexdigest() != head["sha256"]:
            raise _damaged(where, "its sha256 is not the one it names")
        ends = index.places.sum(axis=2)
        if index.places[..., 1].min(initial=0) < 0 or ends.max(initial=0) > index.tar_size:
            raise _damaged(where, "it points outside of its tar")
        return index


class _Head(TypedDict):
    """The JSON line of an index file."""

    format: str
    tar_size: int
    samples: int
    extensions: Sequence[str]
    key_bytes: int
    sha256: str


def _decode(head: _Head, data: bytes, start: int) -> ShardIndex:
    count, parts, width = int(head["samples"]), len(head["extensions"]), int(head["key_bytes"])
    keys_at = start + count * parts * 16
    if len(data) != keys_at + count * width:
        raise ValueError(f"{len(data)} bytes, expected {keys_at + count * width}")
    places = np.frombuffer(data, "<i8", count * parts * 2, start).reshape(count, parts, 2)  # [n, m, 2]
    keys = np.frombuffer(data, f"S{width}", count, keys_at)
    return ShardIndex(keys, tuple(map(str, head["extensions"])), places, int(head["tar_size"]))


def _damaged(where: str, what: str) -> DamagedDataError:
    return DamagedDataError(f"the index {where} is damaged: {what}; remove it, or make it again with verify --repair")


def scan_tar(tar: Path) -> ShardIndex:
    """The index of any uncompressed tar, from its headers: one small read a member. Raises DamagedDataError for a damaged or
    truncated tar.
    """
    places, size = tar_places(tar)
    return ShardIndex.of(places, size, str(tar))


def tar_places(tar: Path) -> tuple[Sequence[Place], int]:
    """Name, offset and size of each regular file in an uncompressed tar of any dialect, and the bytes of the tar.

    Raises DamagedDataError for a damaged or truncated tar, OSError.
    """
    size = tar.stat().st_size
    with tar.open("rb") as file:
        try:
            places: Sequence[Place] = places_of(file, size)
            end = max((offset + length for _, offset, length in places), default=0)
        except DamagedDataError:
            places, end = _unusual_places(file, tar)  # long names, folders, sizes in binary
        file.seek(end + -end % BLOCK)
        if end > size or file.read(BLOCK) != bytes(BLOCK):
            raise DamagedDataError(
                f"the shard {tar} is damaged: it is truncated, or byte {end} is not the start of a header"
            )
    return places, size


def _unusual_places(file: BinaryIO, tar: Path) -> tuple[list[Place], int]:
    """Members of a tar in any dialect, and where the last one ends. ``tarfile`` takes a broken header for the end, and accepts a
    truncated last member.
    """
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            regular = [info for info in archive if info.isreg() and not info.issparse()]
            return [(info.name, info.offset_data, info.size) for info in regular], archive.offset
    except _BROKEN_TAR as error:
        raise DamagedDataError(f"the shard {tar} is damaged: {error or type(error).__name__}") from error
