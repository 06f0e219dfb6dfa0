"""Sets joined, and epochs that mix them: each weak canvas once, annotated ones in turn."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UsageError
from pipeline.shards.epoch_order import Feed
from procrop_model.training.mixed_sampling import ConcatenatedSamples, MixedOrder
from procrop_model.training.samples import read_split


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 9), st.sampled_from([0.1, 0.5, 0.8]), st.integers(0, 3))
def test_an_epoch_has_each_weak_canvas_once_and_annotated_ones(
    weak: int, annotated: int, share: float, seed: int
) -> None:
    order = MixedOrder(weak, annotated, share, 4, seed)
    seen: Counter[int] = Counter()
    for epoch in range(4):
        shown = [position for batch in order.batches(epoch) for position in batch]
        assert sorted(p for p in shown if p < weak) == list(range(weak))
        judged = [p for p in shown if p >= weak]
        assert len(judged) == order.drawn == max(1, round(weak * share / (1 - share)))
        assert all(p < weak + annotated for p in judged)
        seen.update(judged)
    counts = [seen[weak + i] for i in range(annotated)]
    assert max(counts) - min(counts) <= 1


def test_epochs_differ_and_a_feed_goes_on_within_one() -> None:
    order = MixedOrder(9, 5, 0.4, 4, 7)
    assert not np.array_equal(order.permutation(0), order.permutation(1))
    whole, feed = list(Feed(order)), Feed(order)
    first = next(iter(feed))
    again = Feed(MixedOrder(9, 5, 0.4, 4, 7))
    again.load_state_dict(feed.state_dict())
    assert [first, *again] == whole


def test_a_joined_set_is_its_parts_in_order(workplace: Path, annotated: Path) -> None:
    parts = [read_split(workplace / "dataset", "val"), read_split(annotated, "train")]
    joined = ConcatenatedSamples(parts)
    assert joined.keys == [*parts[0].keys, *parts[1].keys]
    assert [joined[i].key for i in range(len(joined))] == joined.keys == [sample.key for sample in joined.labels()]
    assert [sample.annotated for sample in joined] == [False] * 2 + [True] * 5
    with pytest.raises(IndexError):
        joined[len(joined)]
    with pytest.raises(UsageError, match="both have a sample"):
        ConcatenatedSamples([parts[0], parts[0]])
