"""Many signatures as columns: what 60,000 photographs are recognised by, in some ten megabytes."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.memory import give_back
from pipeline.records import Signature
from pipeline.stage import Tables

COLUMNS = ("key", "split", "pixels", "phash", "mirrored", "vector")


@dataclass(frozen=True)
class Signatures:
    """N of them. codes, mirrored: hashes as numbers; vectors: fp16 [N, D].

    row(n): a whole signature, read again where only the columns are in memory.
    """

    keys: NDArray[np.bytes_]
    splits: list[str]
    pixels: NDArray[np.int64]
    codes: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]
    vectors: NDArray[np.float16]
    row: Callable[[int], Signature]

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, n: int) -> str:
        """The key of row n."""
        return bytes(self.keys[n]).decode()

    @staticmethod
    def of(rows: Sequence[Signature]) -> "Signatures":
        """Of signatures in memory, in their order."""
        vectors = [np.frombuffer(row.vector, np.float16) for row in rows]
        return Signatures(
            keys=np.array([row.key.encode() for row in rows], np.bytes_),
            splits=[sys.intern(row.split) for row in rows],
            pixels=np.array([row.pixels for row in rows], np.int64),
            codes=_numbers([row.phash for row in rows]),
            mirrored=_numbers([row.mirrored for row in rows]),
            vectors=np.stack(vectors) if vectors else np.zeros((0, 0), np.float16),
            row=lambda n: rows[n],
        )

    @staticmethod
    def of_run(tables: Tables, stage: str, wanted: Callable[[int], set[str]]) -> "Signatures":
        """Of the photographs of a run, by key. wanted(shard): keys of those that count."""
        parts: list[dict[str, Any]] = []
        where = [np.zeros((0, 2), np.int32)]
        for shard in tables.shards(stage):
            table = tables.columns(stage, shard, COLUMNS)
            rows = np.flatnonzero(pc.is_in(table["key"], value_set=pa.array(sorted(wanted(shard)), pa.string())))
            if len(rows):
                parts.append(_columns(table.take(rows)))
            where.append(np.stack([np.full(len(rows), shard), rows], axis=1).astype(np.int32))
        if not parts:
            return Signatures.of([])
        give_back()  # what was read of so many shards
        order = np.argsort(np.concatenate([part["keys"] for part in parts]), kind="stable")
        places = np.concatenate(where)[order]
        # Column by column, each freed before the next, so that no more than one of them is there twice.
        columns = {name: np.concatenate([part.pop(name) for part in parts])[order] for name in _ARRAYS}
        splits = list(itertools.chain.from_iterable(part["splits"] for part in parts))
        del parts

        def row(n: int) -> Signature:
            shard, place = places[n].tolist()
            found = tables.rows(stage, shard, None)[place]
            return Signature(**{name: found[name] for name in Signature.__dataclass_fields__})

        return Signatures(splits=[splits[n] for n in order], row=row, **columns)

    def joined(self, other: "Signatures") -> "Signatures":
        """These, then the others."""
        if not len(self) or not len(other):
            return self if len(self) else other
        columns: dict[str, Any] = {n: np.concatenate([getattr(self, n), getattr(other, n)]) for n in _ARRAYS}
        return Signatures(
            splits=self.splits + other.splits,
            row=lambda n: self.row(n) if n < len(self) else other.row(n - len(self)),
            **columns,
        )


_ARRAYS = ("keys", "pixels", "codes", "mirrored", "vectors")


def _columns(table: pa.Table) -> dict[str, Any]:
    """The columns of a table that is not empty, by their names in ``Signatures``; its rows are not kept."""
    return {
        "keys": np.array([key.encode() for key in table["key"].to_pylist()], np.bytes_),
        "splits": [sys.intern(split) for split in table["split"].to_pylist()],
        "pixels": table["pixels"].to_numpy(),
        "codes": _numbers(table["phash"].to_pylist()),
        "mirrored": _numbers(table["mirrored"].to_pylist()),
        "vectors": np.stack([np.frombuffer(value, np.float16) for value in table["vector"].to_pylist()]),
    }


def _numbers(hashes: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(code, 16) for code in hashes], np.uint64)
