"""A few of the disturbances that ``bench faults`` makes five hundred of: nothing lost, nothing doubled, nothing wrong certified."""

import random

import pytest

from benchmarks import fault_check, faults
from benchmarks.fault_actors import Actor
from benchmarks.fault_kinds import KINDS, damage, happens
from benchmarks.fault_stores import STORES, place_of


def clean(tally):
    return (tally.lost.total(), tally.doubled.total(), tally.wrong.total(), tally.broken)


@pytest.mark.parametrize("kind", KINDS)
def test_a_disturbed_run_ends_as_an_undisturbed_one(kind):
    tally = faults.FaultTally()
    with place_of("nfs") as place:
        faults._one(place, 0, (kind, "nfs"), random.Random(), tally)
    assert tally.count.total() == 1 and clean(tally) == (0, 0, 0, [])


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
def test_disturbances_of_each_store(store):
    tally = faults.disturb(7, random.randrange(1 << 30), [store])
    assert tally.count.total() == 7 and clean(tally) == (0, 0, 0, []), tally.table()


def test_each_kind_has_its_share_of_five_hundred():
    cells = faults._cells(500, STORES)
    assert len(cells) == 500 and set(cells) == {
        (kind, store) for store in STORES for kind in KINDS if happens(kind, store)
    }


def test_what_is_lost_doubled_or_wrong_is_counted(tmp_path):
    """The bench sees what it is there to see."""
    with place_of("disk") as place:
        store = place.store("run")
        actor = Actor(place.store("run"), "a").start()
        run = actor.run()
        verdict = fault_check.Verdict()
        fault_check._count(["k0", "k0", "k1"], verdict)
        assert (verdict.lost, verdict.doubled) == (4, 1)
        assert fault_check._wrong_images(run) == 0
        data = bytearray(store.read("dataset/shards/x-train-000000.tar"))
        data[600] ^= 1
        store.write("dataset/shards/x-train-000000.tar", bytes(data))
        assert fault_check._wrong_images(run) == 1
        store.write("dataset/shards/x-val-000000.tar", b"x")
        verdict = fault_check.bring_to_the_end(place, "run", [])
        assert verdict.repaired and verdict.doubled == 1 and (verdict.lost, verdict.wrong) == (0, 0)
        assert damage(store, random.Random(0))
