"""Reading a table starts no thread. Everything else of the module is tested with the chain (``tests/whole_chain``)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
assert len(parquet.decode(data)) == len(parquet.decode(data, where=("status", "kept"))) == 9
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
