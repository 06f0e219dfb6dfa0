"""Who gets which samples: all equally, in an order that ranks, workers and interruptions do not change."""

import json
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import RefusedError, UsageError
from pipeline.shards.epoch_order import EpochOrder, Feed, LoaderRank, in_lanes

COUNT, SIZE, RANKS = st.integers(1, 60), st.integers(1, 9), st.integers(1, 5)


def test_an_epoch_shows_each_sample_once_in_its_own_order():
    first, second = list(EpochOrder(7, 3, 0).batches(0)), list(EpochOrder(7, 3, 0).batches(1))
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(7))
    assert [len(batch) for batch in first] == [3, 3, 1]
    assert first != second and first != list(EpochOrder(7, 3, 1).batches(0))
    assert first == list(EpochOrder(7, 3, 0).batches(0))


@given(COUNT, SIZE, RANKS, st.booleans())
def test_ranks_get_equally_many_batches_and_together_everything(count, size, ranks, drop):
    order = EpochOrder(count, size, 5, drop_last=drop)
    whole = list(order.batches(2))
    shares = [list(order.batches(2, LoaderRank(rank, ranks))) for rank in range(ranks)]
    assert {len(share) for share in shares} == {order.batches_an_epoch} == {len(whole)}
    for number, batch in enumerate(whole):
        dealt = [share[number] for share in shares]
        assert all(dealt) and max(map(len, dealt)) - min(map(len, dealt)) <= 1
        assert set(chain(*dealt)) == set(batch)
        if len(batch) >= ranks:
            assert sorted(chain(*dealt)) == sorted(batch)
    seen = sorted(chain(*whole))
    assert len(set(seen)) == len(seen) == (count - count % size if drop else count)


@given(COUNT, SIZE, st.integers(1, 4), st.integers(0, 3))
def test_workers_batches_collected_in_turn_are_the_ranks_batches(count, size, workers, start):
    order = EpochOrder(count, size, 1)
    parts = [list(order.batches(0, LoaderRank(worker=w, workers=workers), start)) for w in range(workers)]
    turns = [part[n] for n in range(max(map(len, parts))) for part in parts if n < len(part)]
    assert turns == list(order.batches(0))[start:]


@given(COUNT, SIZE, st.integers(0, 40))
def test_a_feed_goes_on_with_exactly_what_was_left(count, size, stop):
    def samples(feed, epochs):
        while feed.epoch < epochs:
            for batch in feed:
                yield batch, json.dumps(feed.state_dict())
            feed.end_epoch()

    straight = list(samples(Feed(EpochOrder(count, size, 3)), 3))
    taken = list(islice(samples(Feed(EpochOrder(count, size, 3)), 3), stop))
    again = Feed(EpochOrder(count, size, 3))
    if taken:
        again.load_state_dict(json.loads(taken[-1][1]))
    assert taken + list(samples(again, 3)) == straight


@given(COUNT, SIZE, RANKS)
def test_in_lanes_a_sample_keeps_its_rank_in_every_epoch(count, size, ranks):
    order = EpochOrder(count, size, 3, lanes=True)
    homes = {}
    for epoch in range(3):
        whole = list(order.batches(epoch))
        assert sorted(chain(*whole)) == list(range(count))
        for rank in range(ranks):
            share = LoaderRank(rank, ranks)
            for number, batch in enumerate(order.batches(epoch, share)):
                if order.has_own(number, share):
                    assert all(homes.setdefault(position, rank) == rank for position in batch)
                else:
                    assert batch == whole[number][:1]


@given(st.lists(st.integers(0, 99), unique=True, min_size=1), SIZE)
def test_lanes_of_unequal_length_lose_nothing(positions, size):
    reordered = in_lanes(np.array(positions), size)
    assert sorted(reordered) == sorted(positions)
    rows = -(-len(positions) // size)
    for lane in range(size):
        mine = [p for p in positions if p % size == lane]
        places = len(range(lane, len(positions), size))
        assert [p for p in reordered[lane::size] if p % size == lane][: min(len(mine), places)] == mine[:places]
        assert places in (rows, rows - 1)


def test_lanes_still_shuffle():
    first, second = (list(EpochOrder(40, 4, 0, lanes=True).batches(epoch)) for epoch in (0, 1))
    assert first != second
    assert {position % 4 for position in (batch[1] for batch in first)} == {1}


def test_a_state_of_another_order_is_refused():
    state = Feed(EpochOrder(10, 2, 3)).state_dict()
    with pytest.raises(RefusedError, match="count 10 -> 11"):
        Feed(EpochOrder(11, 2, 3)).load_state_dict(state)
    with pytest.raises(RefusedError, match="lanes False -> True"):
        Feed(EpochOrder(10, 2, 3, lanes=True)).load_state_dict(state)
    with pytest.raises(RefusedError, match="seed 3 -> 4"):
        Feed(EpochOrder(10, 2, 4)).load_state_dict(state)


@pytest.mark.parametrize("share", [(2, 2, 0, 1), (-1, 1, 0, 1), (0, 1, 3, 3)])
def test_shares_that_are_none(share):
    with pytest.raises(UsageError, match="is not possible"):
        LoaderRank(*share)
    with pytest.raises(UsageError, match="at least one sample"):
        EpochOrder(3, 0, 0)
