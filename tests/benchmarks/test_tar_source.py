"""The measurement of tars as a source, on a few."""

from benchmarks.tar_source import measure


def test_tars_are_ingested_and_counted():
    found = measure(3, 4, 100)
    assert (found["walks"], found["kept"]) == (3, 12)
    assert found["megabytes"] >= 0 and found["peak_mib"] > 10
