"""Title, author and licence of each reference, stored by column: a million photographs take some hundred megabytes."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import IO, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True)
class Reference:
    """One photograph of the database.

    Args:
        key: unique key of the reference.
        photo: key of the photograph that it was made from.
        phash: perceptual hash, 64 bits in hex, or "" when unknown.
        title, author, licence, source: from the photograph's credits.
    """

    key: str
    photo: str
    phash: str
    title: str
    author: str
    licence: str
    source: str


GROUP = 4096  # rows per Parquet row group
SCHEMA = pa.schema([(field.name, pa.string()) for field in fields(Reference)])


class Entries(Sequence[Reference]):
    """References by row. hashes: perceptual hashes, uint64 [N]; hashed: whether each is known, bool [N]."""

    def __init__(self, table: pa.Table) -> None:
        """table: with the columns of ``SCHEMA``; raises ValueError for others."""
        if table.schema.names != SCHEMA.names:
            raise ValueError(f"the references have the columns {', '.join(table.schema.names)}")
        self.table = table.combine_chunks()
        codes, count = self.table["phash"], self.table.num_rows
        self.hashes = np.fromiter((int(code.as_py() or "0", 16) for code in codes), np.uint64, count)
        self.hashed = np.fromiter((bool(code.as_py()) for code in codes), bool, count)
        self._keys, self._photos = _Places(self.table["key"]), _Places(self.table["photo"])

    @staticmethod
    def of(references: Iterable[Reference]) -> "Entries":
        """Entries of single references, in their order."""
        return Entries(as_table(references))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, row: int) -> Reference: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Reference]: ...
    def __getitem__(self, row: int | slice) -> Reference | Sequence[Reference]:
        if isinstance(row, slice):
            return Entries(self.table.take(range(len(self))[row]))
        if not 0 <= row < len(self):
            raise IndexError(row)
        return Reference(*(self.table.column(name)[row].as_py() for name in SCHEMA.names))

    def __iter__(self) -> Iterator[Reference]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entries) and bool(self.table.equals(other.table))

    __hash__ = None  # type: ignore[assignment]

    def keys_of(self, rows: Sequence[int]) -> list[str]:
        """Keys of rows."""
        column = self.table["key"]
        return [str(column[row]) for row in rows]  # an Arrow array of rows would import pandas

    def rows_of_key(self, key: str) -> list[int]:
        """The row of a key, as a list; empty when it is unknown."""
        return self._keys.find(key)

    def rows_of_photo(self, photo: str) -> list[int]:
        """All rows made from a photo."""
        return self._photos.find(photo)

    def encode(self) -> bytes:
        """Parquet bytes, the same for the same references."""
        sink = io.BytesIO()
        writer = EntriesWriter(sink)
        writer.add(self.table)
        writer.close()
        return sink.getvalue()

    @staticmethod
    def decode(data: bytes) -> "Entries":
        """From Parquet bytes; raises ValueError (pyarrow.ArrowInvalid is one) when they are damaged."""
        # No buffer ahead and no Python file: either makes Arrow start a thread that may outlive the interpreter.
        return Entries(pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False))


def as_table(references: Iterable[Reference]) -> pa.Table:
    """A table of ``SCHEMA`` with one row per reference."""
    return pa.Table.from_pylist([asdict(reference) for reference in references], schema=SCHEMA)


class EntriesWriter:
    """Writes references as Parquet incrementally; the bytes do not depend on how they are divided into calls of ``add``."""

    def __init__(self, sink: str | IO[bytes]) -> None:
        """sink: a path or a binary file."""
        self._writer = pq.ParquetWriter(sink, SCHEMA, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._marks = [np.zeros(0, np.uint64)]
        self._written = False

    def add(self, table: pa.Table) -> None:
        """Appends the references of a table of ``SCHEMA``."""
        self._marks.append(_marks(table["key"]))
        self._waiting.append(table)
        if sum(len(piece) for piece in self._waiting) >= GROUP:
            self._write(whole_groups=True)

    def close(self) -> bool:
        """Writes the remaining rows; false when a key occurred twice."""
        self._write(whole_groups=False)
        self._writer.close()
        return _unique(np.concatenate(self._marks))

    def _write(self, *, whole_groups: bool) -> None:
        rows = pa.concat_tables([SCHEMA.empty_table(), *self._waiting])
        end = len(rows) // GROUP * GROUP if whole_groups else len(rows)
        for start in range(0, end, GROUP):
            self._group(rows.slice(start, min(GROUP, end - start)))
        if not (whole_groups or self._written):
            self._group(rows)  # an empty table still gets one row group
        self._waiting = [rows.slice(end).combine_chunks()] if end < len(rows) else []

    def _group(self, rows: pa.Table) -> None:
        self._writer.write_table(rows.combine_chunks())
        self._written = True


class _Places:
    """Rows by text, looked up by 64 bits of its sha256: a dictionary of a million texts would need ten times the memory."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        marks = _marks(column)
        self._rows: NDArray[np.intp] = np.argsort(marks, kind="stable")
        self._marks = marks[self._rows]

    def find(self, text: str) -> list[int]:
        low, high = (np.searchsorted(self._marks, np.uint64(_mark(text)), side) for side in ("left", "right"))
        rows: list[int] = self._rows[low:high].tolist()
        return rows


def duplicates(keys: pa.ChunkedArray) -> bool:
    """Whether a text occurs twice."""
    return not _unique(_marks(keys))


def _unique(marks: NDArray[np.uint64]) -> bool:
    ordered = np.sort(marks)
    return bool((ordered[1:] != ordered[:-1]).all())


def _marks(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    return np.fromiter((_mark(text.as_py()) for text in column), np.uint64, len(column))


def _mark(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
