"""Many signatures as columns: what 60,000 photographs are recognised by, in some ten megabytes."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
        parts, where = [], [np.zeros((0, 2), np.int32)]
        for shard in tables.shards(stage):
            table = tables.columns(stage, shard, COLUMNS)
            rows = np.flatnonzero(pc.is_in(table["key"], value_set=pa.array(sorted(wanted(shard)), pa.string())))
            parts.append(_of_table(table.take(rows)))
            where.append(np.stack([np.full(len(rows), shard), rows], axis=1).astype(np.int32))
        parts = [part for part in parts if len(part)] or [Signatures.of([])]
        whole = _joined(parts)
        del parts
        give_back()  # what was read of so many shards
        order = np.argsort(whole.keys, kind="stable")
        places = np.concatenate(where)[order]

        def row(n: int) -> Signature:
            shard, place = places[n].tolist()
            found = tables.rows(stage, shard, None)[place]
            return Signature(**{name: found[name] for name in Signature.__dataclass_fields__})

        return replace(whole._taken(order), row=row)

    def _taken(self, order: NDArray[np.intp]) -> "Signatures":
        columns: dict[str, Any] = {name: getattr(self, name)[order] for name in _ARRAYS}
        return replace(self, splits=[self.splits[n] for n in order], **columns)

    def joined(self, other: "Signatures") -> "Signatures":
        """These, then the others."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return replace(_joined([self, other]), row=lambda n: self.row(n) if n < len(self) else other.row(n - len(self)))


_ARRAYS = ("keys", "pixels", "codes", "mirrored", "vectors")


def _unread(n: int) -> Signature:
    raise LookupError(f"row {n} is not in memory")


def _joined(parts: Sequence[Signatures]) -> Signatures:
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    splits = [split for part in parts for split in part.splits]
    return Signatures(splits=splits, row=parts[0].row, **columns)


def _of_table(table: pa.Table) -> Signatures:
    """Columns of a table; its rows are not kept."""
    count = len(table)
    vectors = np.frombuffer(b"".join(value.as_buffer() for value in table["vector"]), np.float16)
    return Signatures(
        keys=np.array([key.encode() for key in table["key"].to_pylist()], np.bytes_),
        splits=[sys.intern(split) for split in table["split"].to_pylist()],
        pixels=table["pixels"].to_numpy(),
        codes=_numbers(table["phash"].to_pylist()),
        mirrored=_numbers(table["mirrored"].to_pylist()),
        vectors=vectors.reshape(count, -1) if count else np.zeros((0, 0), np.float16),
        row=_unread,
    )


def _numbers(hashes: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(code, 16) for code in hashes], np.uint64)
