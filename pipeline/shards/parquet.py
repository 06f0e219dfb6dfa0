"""Parquet tables, one per stage and shard: every sample has a row, kept or not, with the reason when it is not.

The schema follows from the stage's record dataclass, after four columns of our own: key, status, reason, detail.
"""

import dataclasses
import io
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.stage import KEPT, Outcome, Rows

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")
Scalar = int | float | str | bool | bytes

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


def encode(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> bytes:
    """Parquet bytes of rows, the same for the same rows (no timestamps, fixed compression and row groups)."""
    return encode_table(pa.Table.from_pylist(list(rows), schema=schema))


def encode_table(table: pa.Table, rows_a_group: int = 16384) -> bytes:
    """Parquet bytes of a table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=rows_a_group)
    return sink.getvalue()


def decode(data: bytes, columns: Sequence[str] | None = None, where: tuple[str, Scalar] | None = None) -> Rows:
    """Rows of Parquet bytes; raises pyarrow.ArrowInvalid when they are damaged. where: only rows with (column, value)."""
    rows: Rows = decode_table(data, columns, where).to_pylist()
    return rows


def decode_table(
    data: bytes, columns: Sequence[str] | None = None, where: tuple[str, Scalar] | None = None
) -> pa.Table:
    """``decode`` as an Arrow table.

    It uses this thread only. With a buffer ahead, which is Arrow's default, a thread of Arrow's reads the data. When that thread
    drops the last reference to a Python file while the interpreter ends, it wants the interpreter's lock, and the process
    aborts ("terminate called without an active exception", exit code 134).
    """
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    if where is None:
        return file.read(columns, use_threads=False)
    name, value = where
    groups = [group for group in range(file.num_row_groups) if _may_hold(file, group, name, value)]
    table = file.read_row_groups(groups, columns, use_threads=False)
    return table.filter(pc.equal(table[name], value))


def _may_hold(file: pq.ParquetFile, group: int, name: str, value: Scalar) -> bool:
    """Whether ``value`` is within the minimum and maximum of a column in a row group."""
    statistics = file.metadata.row_group(group).column(file.schema_arrow.get_field_index(name)).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= value <= statistics.max


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
