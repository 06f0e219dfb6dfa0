"""Digests of values, rows by value, and no thread. The rest of the module is tested with the chain (``tests/whole_chain``)."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.stage import Outcome
from pipeline.shards import parquet

ROOT = Path(__file__).resolve().parents[3]
COUNT = """
import os
from dataclasses import dataclass
from pipeline.core.stage import Outcome
from pipeline.shards import parquet

@dataclass(frozen=True)
class Row:
    key: str
    values: list[float]

data = parquet.encode([parquet.row_of(Outcome.kept(Row(f"k{n}", [0.5]))) for n in range(9)], parquet.schema_of(Row))
before = len(os.listdir("/proc/self/task"))
assert len(parquet.decode(data)) == 9
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them")
def test_reading_a_table_starts_no_thread():
    """A thread of Arrow's that still runs when the interpreter ends can abort a process that has done its work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "0", done.stderr


def test_no_reader_of_tables_buffers_ahead():
    calls = [
        call
        for package in ("pipeline", "stages", "procrop_model")
        for path in sorted((ROOT / package).rglob("*.py"))
        for call in re.findall(r"pq\.(?:ParquetFile|read_table)\([^\n]*", path.read_text(encoding="utf-8"))
    ]
    assert len(calls) >= 4 and all("pre_buffer=False" in call for call in calls)


@dataclass(frozen=True)
class Item:
    key: str
    shard: int
    boxes: list[list[float]]
    data: bytes


def items(count, shards=7):
    rows = [Item(f"k{n:03d}", n * shards // count, [[float(n), 0.5]] * (n % 3), bytes([n])) for n in range(count)]
    return parquet.table_of([parquet.row_of(Outcome.kept(row)) for row in rows], parquet.schema_of(Item))


@pytest.mark.parametrize("mapped", [False, True])
def test_rows_of_a_value_come_from_the_groups_that_hold_it(tmp_path, mapped):
    table = items(60)
    data = parquet.encode_table(table, rows_a_group=8)
    (tmp_path / "a.parquet").write_bytes(data)
    rows = parquet.RowsByValue(tmp_path / "a.parquet" if mapped else data, "shard")
    for shard in range(9):
        wanted = [row for row in table.to_pylist() if row["shard"] == shard]
        assert rows.rows(shard).to_pylist() == wanted
    unsorted = table.take(pa.array([40, 3, 59, 20]))
    assert parquet.RowsByValue(parquet.encode_table(unsorted, 1), "shard").rows(0)["key"].to_pylist() == ["k003"]
    assert len(parquet.RowsByValue(parquet.encode_table(table[:0]), "shard").rows(0)) == 0


def test_a_digest_of_values_does_not_depend_on_storage():
    table = items(30)
    digests = parquet.kept_digests(table)
    assert set(digests) == {"key", "shard", "boxes", "data"}
    for other in (
        parquet.decode_table(parquet.encode_table(table, 4)), pa.concat_tables([table[:11], table[11:]]), table.slice(0, 30),
    ):  # fmt: skip
        assert parquet.kept_digests(other) == digests
    rejected = parquet.table_of(
        [*table.to_pylist(), parquet.row_of(Outcome.rejected("k999", "blank", "why"))], table.schema
    )
    assert parquet.kept_digests(rejected) == digests
    assert parquet.value_digests(rejected)["detail"] != parquet.value_digests(table)["detail"]


def test_a_digest_of_values_tells_values_and_their_borders():
    def of(values, kind):
        return parquet.value_digests(pa.table({"a": pa.array(values, kind)}))["a"]

    different = [
        of(["ab", "c"], pa.string()), of(["a", "bc"], pa.string()), of(["abc"], pa.string()), of([None, "abc"], pa.string()),
        of([[1.0], [2.0]], pa.list_(pa.float64())), of([[1.0, 2.0], []], pa.list_(pa.float64())),
        of([[[1.0, 2.0]], []], pa.list_(pa.list_(pa.float64()))), of([1, 2], pa.int64()), of([True, False], pa.bool_()),
        of(["", ""], pa.string()), of([""], pa.string()),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert of(["x", "ab", "c"], pa.string()) != of(["ab", "c"], pa.string())
    sliced = pa.table({"a": pa.array(["x", "ab", "c"])}).slice(1)
    assert parquet.value_digests(sliced)["a"] == of(["ab", "c"], pa.string())
