"""Which shard may begin when several stages are in flight, and where a flow must end."""

import pytest

from pipeline.engine.ready_shards import ReadyShards, segments
from pipeline.runs.receipts import Receipt
from stages.recipe import Recipe, stages_of


class Named:
    prologue_needed = regroups = False

    def __init__(self, name, *upstream, **about):
        self.name, self.upstream = name, upstream
        self.__dict__.update(about)


A, B, C = Named("a", "sources"), Named("b", "a"), Named("c", "a", "b")


def receipt(stage, shard):
    return Receipt(stage, shard, 3, {}, {}, {}, 0, 0, {}, {})


def flow(done=(), stages=(A, B, C), shards=3, **clock):
    return ReadyShards(stages, lambda stage: range(shards), lambda stage, shard: (stage.name, shard) in done, **clock)


def test_the_recipe_is_cut_before_stages_that_need_all_shards():
    names = [[stage.name for stage in segment] for segment in segments(stages_of(Recipe(name="x")))]
    assert names[0][0] == "ingest" and names[0][6] == "propose" and names[0][-1].startswith("refine/")
    assert names[1:] == [["filter"], ["build", "embed"], ["retrieve"]]
    grouped = Named("g", "a", regroups=True, prologue_needed=True)
    assert [len(segment) for segment in segments([A, grouped, Named("h", "g")])] == [1, 1, 1]
    assert segments([]) == []


def test_a_shard_goes_on_while_others_are_still_behind():
    work = flow()
    assert [work.waiting(name) for name in "abc"] == [3, 0, 0]
    assert work.take("a") == 0
    work.done(receipt("a", 0))
    assert [work.waiting(name) for name in "abc"] == [2, 1, 0]
    work.done(receipt("b", work.take("b")))
    assert [work.waiting(name) for name in "abc"] == [2, 0, 1] and work.first("c") == 0
    work.done(receipt("c", work.take("c")))
    assert [work.left(name) for name in "abc"] == [2, 2, 2] and work.unfinished and work.pending


@pytest.mark.parametrize("order", ["abc", "cba"])
def test_each_shard_comes_once_whatever_was_done_before(order):
    done = {("a", 0), ("a", 1), ("b", 1), ("c", 1), ("c", 2)}
    stages = sorted((A, B, C), key=lambda stage: order.index(stage.name))
    work, given = flow(done, stages), []
    while work.unfinished:
        name = next(name for name in "abc" if work.waiting(name))
        given.append((name, work.take(name)))
        work.done(receipt(*given[-1]))
    assert sorted(given) == [("a", 2), ("b", 0), ("b", 2), ("c", 0)] and not work.pending


def test_a_shard_given_back_comes_again_and_not_too_soon():
    clock = [100.0]
    work = flow(stages=(A,), shards=1, now=lambda: clock[0])
    shard = work.take("a")
    assert not work.pending and work.unfinished
    work.put_back("a", shard, after=5.0)
    clock[0] += 4.9
    assert work.waiting("a") == 0 and work.pending
    clock[0] += 0.1
    assert work.waiting("a") == 1 and work.take("a") == shard
