"""Parquet tables, one per stage and shard: every sample has a row, kept or not, with the reason when it is not.

The schema follows from the stage's record dataclass, after four columns of our own: key, status, reason, detail.
"""

import dataclasses
import hashlib
import io
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.stage import KEPT, Outcome, Rows

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")
_SCALARS: dict[object, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}
OWN_COLUMNS = ("key", "status", "reason", "detail")
IMAGE_COLUMNS = {"image_offset": pa.int64(), "image_size": pa.int64(), "image_sha256": pa.string()}


def arrow_type(hint: object) -> pa.DataType:
    """The Parquet type of a field of a record; raises TypeError for a type that tables do not support."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if get_origin(hint) is list:
        return pa.list_(arrow_type(get_args(hint)[0]))
    if isinstance(hint, types.UnionType):
        raise TypeError(f"records hold no optional fields: {hint}")
    raise TypeError(f"a record field of type {hint} has no Parquet type")


def schema_of(record: type, *, images: bool = False) -> pa.Schema:
    """The schema of a stage's table: own columns, the record's fields, then the place of the image in the shard's tar."""
    hints = get_type_hints(record)
    fields = [pa.field(name, pa.string()) for name in OWN_COLUMNS]
    fields += [pa.field(f.name, arrow_type(hints[f.name])) for f in dataclasses.fields(record) if f.name != "key"]
    if images:
        fields += [pa.field(name, kind) for name, kind in IMAGE_COLUMNS.items()]
    return pa.schema(fields)


def row_of(outcome: Outcome, image: tuple[int, int, str] | None = None) -> dict[str, object]:
    """A table row. The fields of a record are null for a rejected or failed sample without one.

    Args:
        outcome: of the sample.
        image: offset, size and sha256 of the sample's first file in the shard's tar.
    """
    row = {} if outcome.record is None else _shallow(outcome.record)
    row.update(key=outcome.key, status=outcome.status, reason=outcome.reason, detail=outcome.detail)
    if image is not None:
        row.update(zip(IMAGE_COLUMNS, image, strict=True))
    return row


def _shallow(record: "DataclassInstance") -> dict[str, object]:
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def value_digests(table: pa.Table) -> dict[str, str]:
    """sha256 of each column's values, whatever library wrote the table, and however it is stored."""
    return {name: _digest_of(table[name].combine_chunks()) for name in table.column_names}


def kept_digests(table: pa.Table) -> dict[str, str]:
    """``value_digests`` of the kept rows, of which ``status``, ``reason`` and ``detail`` say nothing more."""
    names = [name for name in table.column_names if name not in OWN_COLUMNS or name == "key"]
    return value_digests(kept_table(table).select(names))


def _digest_of(column: pa.Array) -> str:
    digest = hashlib.sha256()
    for part in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        _add_values(digest, part)
    return digest.hexdigest()


def _add_values(digest: "hashlib._Hash", values: pa.Array) -> None:
    """Lengths, then contents, little-endian; where values are missing, first which."""
    if values.null_count:
        digest.update(np.asarray(values.is_null()).tobytes())
        values = values.drop_null()
    if pa.types.is_list(values.type):
        digest.update(values.value_lengths().to_numpy().astype("<i8").tobytes())
        _add_values(digest, values.flatten())
    elif pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        digest.update(pc.binary_length(values).to_numpy().astype("<i8").tobytes())
        _, offsets, data = values.buffers()
        if data is not None and len(values):
            ends = np.frombuffer(offsets, "<i4")[values.offset : values.offset + len(values) + 1]
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    else:
        digest.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).tobytes())


def encode(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> bytes:
    """Parquet bytes of rows, the same for the same rows and version of Arrow (no timestamps, fixed compression and row groups)."""
    return encode_table(table_of(rows, schema))


def table_of(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def encode_table(table: pa.Table, rows_a_group: int = 16384) -> bytes:
    """Parquet bytes of a table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=rows_a_group)
    return sink.getvalue()


def decode(data: bytes, columns: Sequence[str] | None = None) -> Rows:
    """Rows of Parquet bytes; raises pyarrow.ArrowInvalid when they are damaged."""
    rows: Rows = decode_table(data, columns).to_pylist()
    return rows


def decode_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """``decode`` as an Arrow table."""
    return _opened(data).read(columns, use_threads=False)


def _opened(data: bytes | Path) -> pq.ParquetFile:
    """A Parquet file that is read by this thread only; one on this machine is mapped, not read as a whole.

    With a buffer ahead, which is Arrow's default, a thread of Arrow's reads the data. When that thread drops the last reference
    to a Python file while the interpreter ends, it wants the interpreter's lock, and the process aborts ("terminate called without
    an active exception", exit code 134).
    """
    source = pa.memory_map(str(data)) if isinstance(data, Path) else pa.BufferReader(data)
    return pq.ParquetFile(source, pre_buffer=False)


class RowsByValue:
    """Rows of a Parquet file by the value of a column of numbers. Its row groups are looked through once, not for each value.

    Args:
        data: bytes of the file, or its path; it is sorted by the column, so that few groups hold a value.
        column: its name.
    """

    def __init__(self, data: bytes | Path, column: str) -> None:
        self._file, self._column = _opened(data), column
        place, about = self._file.schema_arrow.get_field_index(column), self._file.metadata
        known = [about.row_group(group).column(place).statistics for group in range(about.num_row_groups)]
        ranges = [(s.min, s.max) if s is not None and s.has_min_max else (-np.inf, np.inf) for s in known]
        self._low, self._high = np.array(ranges, np.float64).reshape(-1, 2).T

    def rows(self, value: int) -> pa.Table:
        """The rows with a value, in the order of the file."""
        groups = np.flatnonzero((self._low <= value) & (value <= self._high)).tolist()
        table = self._file.read_row_groups(groups, use_threads=False)
        return table.filter(pc.equal(table[self._column], value))


def columns_of(record: type) -> list[str]:
    """Names of a record's columns."""
    return [field.name for field in dataclasses.fields(record)]


def records_of(record: type[Record], table: pa.Table) -> list[Record | None]:
    """Each row of a table as a record; None for a rejected or failed sample, whose fields are null."""
    build: Callable[..., Record] = record
    columns = _columns(record, table)
    return [None if None in values else build(*values) for values in zip(*columns, strict=True)]


def kept_records(record: type[Record], table: pa.Table) -> list[Record]:
    """Rows of a table that has kept rows only, as records, whose fields may be fewer than its columns.

    A field with a default factory may be no column, as in runs of older versions; raises KeyError for any other that is none.
    """
    build: Callable[..., Record] = record
    return [build(*values) for values in zip(*_columns(record, table), strict=True)]


def _columns(record: type, table: pa.Table) -> list[list[object]]:
    """The values of each field of a record, in its order; a column that the table lacks has the field's default."""
    present, columns = set(table.column_names), []
    for one in dataclasses.fields(record):
        if one.name in present or one.default_factory is dataclasses.MISSING:
            columns.append(table[one.name].to_pylist())
        else:
            columns.append([one.default_factory() for _ in range(len(table))])
    return columns


def kept(rows: Rows) -> Rows:
    """The rows that the next stage sees."""
    return [row for row in rows if row["status"] == KEPT]


def kept_table(table: pa.Table) -> pa.Table:
    """``kept`` of an Arrow table."""
    return table.filter(pc.equal(table["status"], KEPT))
