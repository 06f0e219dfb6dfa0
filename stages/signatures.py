"""Many signatures as columns: what 60,000 photographs are recognised by, in some ten megabytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Signature
from pipeline.stage import Tables

COLUMNS = ("key", "split", "pixels", "phash", "mirrored", "vector")


@dataclass(frozen=True)
class Signatures:
    """N of them. codes, mirrored: hashes as numbers; vectors: fp16 [N, D].

    row(n): a whole signature, read again where only the columns are in memory.
    """

    keys: list[str]
    splits: list[str]
    pixels: NDArray[np.int64]
    codes: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]
    vectors: NDArray[np.float16]
    row: Callable[[int], Signature]

    def __len__(self) -> int:
        return len(self.keys)

    @staticmethod
    def of(rows: Sequence[Signature]) -> "Signatures":
        """Of signatures in memory, in their order."""
        vectors = [np.frombuffer(row.vector, np.float16) for row in rows]
        return Signatures(
            keys=[row.key for row in rows],
            splits=[row.split for row in rows],
            pixels=np.array([row.pixels for row in rows], np.int64),
            codes=_numbers([row.phash for row in rows]),
            mirrored=_numbers([row.mirrored for row in rows]),
            vectors=np.stack(vectors) if vectors else np.zeros((0, 0), np.float16),
            row=lambda n: rows[n],
        )

    @staticmethod
    def of_run(tables: Tables, stage: str, wanted: Callable[[int], set[str]]) -> "Signatures":
        """Of the photographs of a run, by key. wanted(shard): keys of those that count."""
        parts, where = [], []
        for shard in tables.shards(stage):
            keys = wanted(shard)
            table = tables.columns(stage, shard, COLUMNS).select(COLUMNS).to_pylist()
            rows = [(n, row) for n, row in enumerate(table) if row["key"] in keys]
            parts.append(Signatures.of([Signature(**row, uri="", thumb=b"") for _, row in rows]))
            where += [(shard, n) for n, _ in rows]
        parts = [part for part in parts if len(part)] or [Signatures.of([])]
        whole = _joined(parts)
        order = np.argsort(np.array(whole.keys, dtype=np.str_), kind="stable")

        def row(n: int) -> Signature:
            shard, place = where[order[n]]
            found = tables.rows(stage, shard, None)[place]
            return Signature(**{name: found[name] for name in Signature.__dataclass_fields__})

        return replace(whole._taken(order), row=row)

    def _taken(self, order: NDArray[np.intp]) -> "Signatures":
        columns: dict[str, Any] = {name: getattr(self, name)[order] for name in _ARRAYS}
        columns |= {name: [getattr(self, name)[n] for n in order] for name in ("keys", "splits")}
        return replace(self, **columns)

    def joined(self, other: "Signatures") -> "Signatures":
        """These, then the others."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return replace(_joined([self, other]), row=lambda n: self.row(n) if n < len(self) else other.row(n - len(self)))


_ARRAYS = ("pixels", "codes", "mirrored", "vectors")


def _joined(parts: Sequence[Signatures]) -> Signatures:
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    keys, splits = ([item for part in parts for item in getattr(part, name)] for name in ("keys", "splits"))
    return Signatures(keys=keys, splits=splits, row=parts[0].row, **columns)


def _numbers(hashes: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(code, 16) for code in hashes], np.uint64)
