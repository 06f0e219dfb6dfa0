"""Many signatures as columns: what 60,000 photographs are recognised by, in some ten megabytes."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.records import Signature
from pipeline.core.release_memory import give_back
from pipeline.core.stage import Tables

COLUMNS = ("split", "pixels", "phash", "mirrored", "vector")


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
        """Of the photographs of a run, by key. wanted(shard): keys of those that count.

        Keys are read first, and the other columns then put where they belong, so that none is in memory twice.
        """
        keys = [np.zeros(0, np.bytes_)]
        where = [np.zeros((0, 2), np.int32)]
        for shard in tables.shards(stage):
            column = tables.columns(stage, shard, ["key"])["key"]
            rows = np.flatnonzero(pc.is_in(column, value_set=pa.array(sorted(wanted(shard)), pa.string())))
            keys.append(np.array([key.encode() for key in column.take(rows).to_pylist()], np.bytes_))
            where.append(np.stack([np.full(len(rows), shard), rows], axis=1).astype(np.int32))
        joined = np.concatenate(keys)
        order = np.argsort(joined, kind="stable")
        places = np.concatenate(where)[order]
        if not len(order):
            return Signatures.of([])
        columns: dict[str, Any] = {"keys": joined[order], "splits": [""] * len(order)}
        del joined, keys
        target, start = np.argsort(order, kind="stable"), 0  # of each row in the order it is read
        give_back()  # what was read of so many shards
        for part in where[1:]:
            if len(part):
                table = tables.columns(stage, int(part[0, 0]), COLUMNS).take(part[:, 1])
                _put(table, target[start : start + len(part)], columns)
                start += len(part)

        def row(n: int) -> Signature:
            shard, place = places[n]
            return tables.rows(stage, int(shard), Signature)[int(place)]

        return Signatures(row=row, **columns)

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


def _put(table: pa.Table, target: NDArray[np.intp], columns: dict[str, Any]) -> None:
    """Puts rows of a table where they belong in the columns of a ``Signatures``, which are made with the first."""
    arrays = {
        "pixels": table["pixels"].to_numpy(),
        "codes": _numbers(table["phash"].to_pylist()),
        "mirrored": _numbers(table["mirrored"].to_pylist()),
        "vectors": np.stack([np.frombuffer(value, np.float16) for value in table["vector"].to_pylist()]),
    }
    for name, values in arrays.items():
        if name not in columns:
            columns[name] = np.zeros((len(columns["splits"]), *values.shape[1:]), values.dtype)
        columns[name][target] = values
    for place, split in zip(target.tolist(), table["split"].to_pylist(), strict=True):
        columns["splits"][place] = sys.intern(split)


def _numbers(hashes: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(code, 16) for code in hashes], np.uint64)
