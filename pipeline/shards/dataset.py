"""Random access to the samples of shards: each is a few reads at offsets from the shard's index."""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import DamagedDataError, MissingUpstreamError
from pipeline.shards.index import ShardIndex, scan_tar

OPEN_FILES = 64  # well under the usual limit of 1,024 descriptors, also with several readers


class ShardSample(NamedTuple):
    """One sample as stored: its key, and the bytes of each part by extension."""

    key: str
    parts: dict[str, bytes]


class _Open:
    """A descriptor that closes with its last reference, so that one thread may drop it while another reads."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class ShardSet(Sequence[ShardSample]):
    """All samples of some tars as one sequence, tar after tar.

    Reads use ``pread``: memory holds only the indexes (about 70 bytes a sample), any number of threads may read, and a copy in
    another process (fork or pickle) opens its own files. A tar of any origin without an index beside it (``../index/NAME.idx``,
    see ``pipeline.shards.index``) is scanned once. Raises DamagedDataError for an index that is damaged or of another tar, for a
    truncated tar, and for bytes that are missing when they are read.

    Args:
        tars: paths of the shards, in the order of the sequence.
    """

    def __init__(self, tars: Sequence[Path]) -> None:
        self.tars = [Path(tar) for tar in tars]
        self.indexes = [_index_of(tar) for tar in self.tars]
        self._starts = [0, *accumulate(len(index) for index in self.indexes)]
        self._open: OrderedDict[int, _Open] = OrderedDict()

    @staticmethod
    def of_split(folder: Path | str, split: str, *, needed: bool = True) -> "ShardSet":
        """The shards of a split, in the order of their names. folder: a ``dataset``, or its ``shards``.

        Raises MissingUpstreamError when there are none, unless they are not ``needed``.
        """
        home = Path(folder)
        shards = home / "shards" if (home / "shards").is_dir() else home
        tars = sorted(shards.glob(f"*-{split}-*.tar"))
        if not tars and needed:
            raise MissingUpstreamError(f"no shards of the split '{split}' in {shards}: run `procrop-data build` first")
        return ShardSet(tars)

    def __len__(self) -> int:
        return self._starts[-1]

    def locate(self, position: int) -> tuple[int, int]:
        """Shard and row of a position among all samples; raises IndexError."""
        if not 0 <= position < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        shard = bisect_right(self._starts, position) - 1
        return shard, position - self._starts[shard]

    def __getitem__(self, position: int) -> ShardSample:  # type: ignore[override]  # no slices: they would load many samples
        return self.read(*self.locate(position))

    def __iter__(self) -> Iterator[ShardSample]:
        for shard, index in enumerate(self.indexes):
            for row in range(len(index)):
                yield self.read(shard, row)

    def keys(self) -> Iterator[str]:
        """Keys of all samples in order, from the indexes alone."""
        for index in self.indexes:
            yield from (key.decode("utf-8", "surrogateescape") for key in index.keys.tolist())

    def read(self, shard: int, row: int, extensions: Sequence[str] | None = None) -> ShardSample:
        """A sample by shard and row. extensions: parts to read; None: all."""
        index = self.indexes[shard]
        file = self._file(shard)
        parts = {}
        for extension, (offset, size) in zip(index.extensions, index.places[row].tolist(), strict=True):
            if offset < 0 or (extensions is not None and extension not in extensions):
                continue
            data = os.pread(file.number, size, offset)
            if len(data) != size:
                raise DamagedDataError(
                    f"{self.tars[shard]} ends within a sample: {len(data)} of {size} bytes at {offset}"
                )
            parts[extension] = data
        return ShardSample(index.keys[row].decode("utf-8", "surrogateescape"), parts)

    def _file(self, shard: int) -> _Open:
        file = self._open.get(shard)
        if file is None:
            if len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)
            self._open[shard] = file = _Open(self.tars[shard])
        return file

    def close(self) -> None:
        """Close open files; a later read opens them again."""
        self._open.clear()

    def __enter__(self) -> "ShardSet":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict()}


def _index_of(tar: Path) -> ShardIndex:
    beside = tar.parent.parent / "index" / f"{tar.stem}.idx"
    try:
        data = beside.read_bytes()
    except FileNotFoundError:
        return scan_tar(tar)
    index, size = ShardIndex.decode(data, str(beside)), tar.stat().st_size
    if index.tar_size != size:
        raise DamagedDataError(
            f"the shard {tar} has {size} bytes, its index says {index.tar_size}: it is truncated, or the index is of another tar"
        )
    return index
