"""Totals of the final samples, added up shard by shard, for the papers of a dataset."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.core.stage import Tables

EXAMPLES = 12
EDGES = np.linspace(0, 10, 11)


@dataclass(frozen=True)
class _Row:
    """The columns of a final sample that are summed up."""

    key: str
    photo: str
    photo_box: list[int]
    crops: list[list[float]]
    scores: list[float]
    outpainter: str
    scorer: str
    image_offset: int
    image_size: int


@dataclass
class Contents:
    """Totals of the samples.

    Args:
        total: samples. crops: of all samples together.
        histogram: crops by score, in the bins of ``EDGES``.
        outpainters, scorers: names with digest.
        canvases: samples by photograph (``photo_number``).
        examples: (bytes of the canvas, photo_box, other crops).
    """

    total: int = 0
    crops: int = 0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(10, np.int64))
    outpainters: set[str] = field(default_factory=set)
    scorers: set[str] = field(default_factory=set)
    canvases: Counter[int] = field(default_factory=Counter)
    examples: list[tuple[bytes, Sequence[float], Sequence[Sequence[float]]]] = field(default_factory=list)

    def add(self, rows: Sequence[_Row]) -> None:
        """Take in the samples of a shard."""
        scores = np.asarray([score for row in rows for score in row.scores])
        self.total += len(rows)
        self.crops += len(scores)
        self.histogram += np.histogram(np.clip(scores, 0, 10), EDGES)[0]
        self.outpainters.update(row.outpainter for row in rows)
        self.scorers.update(row.scorer for row in rows)
        self.canvases.update(photo_number(row.photo) for row in rows)


def photo_number(key: str) -> int:
    """64 bits that stand for the key of a photograph: as text, ten million of them would take several times the memory."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])


def contents_of(stage: str, tables: Tables) -> Contents:
    """Goes through the tables of all shards once; examples are the canvases whose photo scores best, one of each photo."""
    contents = Contents()
    best: dict[str, tuple[float, str, str, _Row]] = {}  # by photo
    for receipt in tables.receipts(stage):
        tar = next((path for path in receipt.outputs if path.endswith(".tar")), "")
        rows = tables.rows(stage, receipt.shard, _Row)
        for row in rows:
            found = (row.scores[0], row.key, tar, row)
            best[row.photo] = max(found, best.get(row.photo, found), key=lambda one: one[:2])
        best = dict(sorted(best.items(), key=lambda item: item[1][:2])[-EXAMPLES:])
        contents.add(rows)
    for _, _, tar, row in sorted(best.values(), key=lambda one: one[:2], reverse=True):
        data = tables.read_range(tar, row.image_offset, row.image_size)
        contents.examples.append((data, row.photo_box, row.crops[1:]))
    return contents
