"""Rows come back by destination and in their places, whatever order they were set aside in."""

from hypothesis import given
from hypothesis import strategies as st

from stages.publishing.row_spool import Spool


@given(st.permutations(list(range(12))), st.integers(1, 5))
def test_round_trip(tmp_path_factory, order, batch):
    spool = Spool(tmp_path_factory.mktemp("spool"))
    rows = [(i % 3, i // 3, {"key": f"ключ {i}", "list": [i, 0.5]}) for i in order]
    for start in range(0, len(rows), batch):
        spool.add(rows[start : start + batch])
    for destination in range(3):
        found = spool.take(destination)
        assert [value["list"][0] for value in found] == list(range(destination, 12, 3))
        assert found[0]["key"] == f"ключ {destination}"
