"""One Parquet a (stage, shard): every task has a row, kept or not, with its fixed word when not.

The schema follows from the stage's record dataclass, after four columns of our own: key, status, reason, detail.
"""

import dataclasses
import io
import types
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.stage import KEPT, Outcome

_SCALARS = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary()}
OWN_COLUMNS = ("key", "status", "reason", "detail")
IMAGE_COLUMNS = {"image_offset": pa.int64(), "image_size": pa.int64(), "image_sha256": pa.string()}


def arrow_type(hint: Any) -> pa.DataType:
    """The Parquet type of a dataclass field; raises TypeError for one that a table cannot hold."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if get_origin(hint) is list:
        return pa.list_(arrow_type(get_args(hint)[0]))
    if isinstance(hint, types.UnionType):
        raise TypeError(f"records hold no optional fields: {hint}")
    raise TypeError(f"a record field of type {hint} has no Parquet type")


def schema_of(record: type, *, images: bool = False) -> pa.Schema:
    """Own columns, then the record's fields, then where the image lies in the shard's tar."""
    hints = get_type_hints(record)
    fields = [pa.field(name, pa.string()) for name in OWN_COLUMNS]
    fields += [pa.field(f.name, arrow_type(hints[f.name])) for f in dataclasses.fields(record) if f.name != "key"]
    if images:
        fields += [pa.field(name, kind) for name, kind in IMAGE_COLUMNS.items()]
    return pa.schema(fields)


def row_of(outcome: Outcome, image: tuple[int, int, str] | None = None) -> dict[str, Any]:
    """A table row: the record's fields are null where a rejected or failed task has none.

    image: offset, size and sha256 of the sample's first file in the shard's tar.
    """
    row: dict[str, Any] = {} if outcome.record is None else _shallow(outcome.record)
    row.update(key=outcome.key, status=outcome.status, reason=outcome.reason, detail=outcome.detail)
    if image is not None:
        row.update(zip(IMAGE_COLUMNS, image, strict=True))
    return row


def _shallow(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def encode(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Parquet bytes of rows, the same for the same rows (no timestamps, fixed compression and row groups)."""
    return encode_table(pa.Table.from_pylist(list(rows), schema=schema))


def encode_table(table: pa.Table, rows_a_group: int = 16384) -> bytes:
    """Parquet bytes of a table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=rows_a_group)
    return sink.getvalue()


def decode(
    data: bytes, columns: Sequence[str] | None = None, where: tuple[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Rows of Parquet bytes, or those with one value in one column; raises pyarrow.ArrowInvalid when they are damaged."""
    rows: list[dict[str, Any]] = decode_table(data, columns, where).to_pylist()
    return rows


def decode_table(data: bytes, columns: Sequence[str] | None = None, where: tuple[str, Any] | None = None) -> pa.Table:
    """The same as a table. Read by this thread alone: Arrow's own readers may still be at work when the process ends."""
    file = pq.ParquetFile(io.BytesIO(data))
    if where is None:
        return file.read(columns, use_threads=False)
    name, value = where
    groups = [group for group in range(file.num_row_groups) if _may_hold(file, group, name, value)]
    table = file.read_row_groups(groups, columns, use_threads=False)
    return table.filter(pc.equal(table[name], value))


def _may_hold(file: pq.ParquetFile, group: int, name: str, value: Any) -> bool:
    """Whether the least and greatest value of a column in a row group leave room for one."""
    about = file.metadata.row_group(group).column(file.schema_arrow.get_field_index(name)).statistics
    return about is None or not about.has_min_max or about.min <= value <= about.max


def kept(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the next stage sees."""
    return [row for row in rows if row["status"] == KEPT]


def kept_table(table: pa.Table) -> pa.Table:
    """The same of a table."""
    return table.filter(pc.equal(table["status"], KEPT))
