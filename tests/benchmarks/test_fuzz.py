"""No mutated input breaks a reader: each is read, or refused in words. ``bench fuzz`` does the same for longer."""

import random

import pytest

from benchmarks import fuzz

SHARE = 400  # inputs for each reader: a few seconds of one core in all


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_mutated_inputs_are_read_or_refused(reader):
    tally = fuzz.fuzz(SHARE, 1, [reader], seconds=60)
    assert [(name, seed, trace) for name, seed, trace, _ in tally.broken] == []
    assert sum(tally.ends.values()) > 20 and tally.slowest_s < fuzz.HANG_S


def test_whole_seeds_are_read(tmp_path):
    for name, (read, seeds) in fuzz.READERS.items():
        for seed, data in seeds().items():
            tally = fuzz.FuzzTally()
            fuzz.try_one(name, seed, data, tmp_path / "input", tally)
            expected = {"bad_mode"} if seed == "f.tif" and name in ("ingest", "crop") else {"read"}
            assert set(tally.ends) <= expected | {"read", "refused"} and not tally.broken, (name, seed, read)


def test_a_reader_that_breaks_or_hangs_is_found(tmp_path, monkeypatch):
    def breaks(data, place):
        raise TypeError("odd")

    def hangs(data, place):
        while True:
            pass

    monkeypatch.setattr(fuzz, "HANG_S", 0.05)
    for read in (breaks, hangs):
        monkeypatch.setitem(fuzz.READERS, "bad", (read, lambda: {"a": b"x"}))
        tally = fuzz.fuzz(2, 0, ["bad"])
        assert tally.ends == {"broken": 2} and len(tally.broken) == 2


def test_the_same_seed_gives_the_same_inputs():
    data = bytes(range(256)) * 8
    made = [[fuzz.mutated(data, random.Random(seed)) for seed in range(40)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 35
