"""Rows come back by destination and in their places, whatever order they were set aside in."""

from hypothesis import given
from hypothesis import strategies as st

from stages.publishing.shard_assignment import RowsByShard


@given(st.permutations(list(range(12))), st.integers(1, 5))
def test_rows_by_shard_come_back_in_their_places(tmp_path_factory, order, batch):
    regrouped = RowsByShard(tmp_path_factory.mktemp("rows"))
    rows = [(i % 3, i // 3, {"key": f"ключ {i}", "list": [i, 0.5]}) for i in order]
    for start in range(0, len(rows), batch):
        regrouped.add(rows[start : start + batch])
    for destination in range(3):
        found = regrouped.take(destination)
        assert [value["list"][0] for value in found] == list(range(destination, 12, 3))
        assert found[0]["key"] == f"ключ {destination}"
