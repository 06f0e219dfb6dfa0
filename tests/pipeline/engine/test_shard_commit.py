"""Two writers of one shard, asleep at any of their operations: a receipt never names a file that holds other bytes."""

import pytest

from benchmarks.fault_actors import SLEEP, Actor, give_locks_up
from benchmarks.fault_stages import Paint, Read
from benchmarks.fault_stores import Place, place_of
from pipeline.core.errors import RefusedError
from pipeline.engine.shard_commit import ShardAttempt
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.final_shard_diff import RETIRED, sweep
from pipeline.runs.receipts import Receipt
from pipeline.storage.base import describe
from pipeline.storage.locks import shard_lock

WORDS = {"done", "RefusedError", "HeldError"}


REMOTE = [pytest.param(kind, marks=pytest.mark.long) for kind in ("s3", "hdfs")]


@pytest.fixture(scope="module")
def nfs():
    """Without the waits for a disk."""
    with place_of("nfs") as place:
        yield place


@pytest.fixture(params=["nfs", *REMOTE])
def place(request):
    with place_of(request.param) as place:
        yield place


class Writer(Actor):
    """Does one shard."""

    def work(self, run):
        run_shard(Paint(self.machine, self.step), run, 0, Control())


class Twice:
    """A shard of an earlier attempt, with other bytes, lies there: both writers find it."""

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.name = place, name
        Actor(self.store(), "c").run()
        for name in ("paint/000000.tar", "paint/000000.parquet"):
            self.store().write(name, b"of an attempt that died")

    def store(self):
        return self.place.store(self.name)

    def writer(self, machine, at):
        return Writer(self.store(), machine, at=at, act=SLEEP)

    def wrong(self) -> list[str]:
        """Files under a receipt with other bytes; those that are gone are made again by the next run."""
        path = "paint/000000.receipt.json"
        if not self.store().exists(path):
            return []
        outputs = Receipt.decode(self.store().read(path), path).outputs
        return [
            name for name, info in outputs.items()
            if self.store().exists(name) and describe(self.store().read(name)) != info
        ]  # fmt: skip


def operations(place):
    return Twice(place, "all").writer("a", 0).start().count


def asleep_twice(place, first_at, second_at):
    """A sleeps, B takes over and sleeps, C takes over from B where it can; A wakes, then B."""
    shard = Twice(place, f"{first_at}-{second_at}")
    first = shard.writer("a", first_at).start()
    give_locks_up(shard.store())
    second = shard.writer("b", second_at).start()
    give_locks_up(shard.store())
    for writer in (first.finish(), second.finish()):
        assert writer.word in WORDS, writer.trace
    return shard


def test_a_sleeper_at_any_operation_certifies_nothing_wrong(place):
    for at in range(1, operations(place) + 1, {"nfs": 1, "hdfs": 2, "s3": 5}[place.kind]):
        shard = asleep_twice(place, at, 0)
        assert shard.wrong() == [], f"asleep at operation {at}"
        assert shard.store().exists("paint/000000.receipt.json")


@pytest.mark.parametrize("part", range(4))
def test_two_sleepers_at_any_operations_certify_nothing_wrong(nfs, part):
    """A thirteenth of all pairs of operations, over the four parts."""
    last = operations(nfs) + 1
    pairs = [(a, b) for a in range(1, last) for b in range(1, last)][part * 3 :: 13 * 4]
    for a, b in pairs:
        assert asleep_twice(nfs, a, b).wrong() == [], f"asleep at operations {a} and {b}"


class Outside(Read):
    """Publishes beside its own folder."""

    name, upstream = "outside", ()

    def paths(self, shard, shared):
        return "dataset/shards/x.tar", "dataset/metadata/x.parquet"


def test_a_late_writer_announces_its_final_shards_again(nfs):
    """The sweep of the new owner came before the files of the old one, which no receipt will name."""
    store = nfs.store("late")
    run, stage = Actor(store, "a").run(), Outside()
    with shard_lock(store, stage.name, 0) as lock:
        attempt = ShardAttempt(stage, run, run.shard(stage, 0), {}, lock)
        receipt = attempt.place([], None)
        assert sweep(stage, run, {}) == ["dataset/metadata/x.parquet"] and store.names(f"{stage.name}/{RETIRED}") == []
        store.remove(lock.path)  # taken over, and given back
        with pytest.raises(RefusedError, match="taken over"):
            attempt.commit(receipt)
    assert len(store.names(f"{stage.name}/{RETIRED}")) == 1
