"""Simulated runs: sums that must hold, and what losses, stragglers and single steps do."""

import pytest

from pipeline.planning.cluster_simulation import SimulatedFleet, SimulatedStage, durations, simulate, spread_of

STEPS = [SimulatedStage("a", 40, 100.0, sigma=0.5, batch=5.0), SimulatedStage("b", 40, 50.0, before=30.0)]


def test_without_losses_one_worker_takes_the_sum():
    result = simulate(STEPS, SimulatedFleet(1), 0)
    assert result.seconds == pytest.approx(sum(durations(STEPS[0], 0)) + 40 * 50 + 30)
    assert result.work == pytest.approx(result.seconds - 30)
    assert result.losses == 0 and result.redone == 0


def test_shard_times_depend_on_the_seed_not_on_the_fleet():
    fleet = SimulatedFleet(4, lost=2.0, away=60.0)
    assert simulate(STEPS, fleet, 1) == simulate(STEPS, fleet, 1)
    assert simulate(STEPS, fleet, 1).work == pytest.approx(simulate(STEPS, SimulatedFleet(9), 1).work)


def test_more_workers_are_faster_up_to_single_steps():
    hours = [simulate(STEPS, SimulatedFleet(workers), 0).seconds for workers in (1, 2, 4, 40, 400)]
    assert hours == sorted(hours, reverse=True)
    assert hours[-1] == pytest.approx(max(durations(STEPS[0], 0)) + 30 + 50)


def test_a_journal_saves_all_but_a_batch():
    fleet = SimulatedFleet(5, lost=20.0, away=1.0)
    with_journal = simulate([SimulatedStage("a", 50, 100.0, batch=5.0)], fleet, 3)
    without = simulate([SimulatedStage("a", 50, 100.0)], fleet, 3)
    assert with_journal.losses > 5
    assert with_journal.redone <= 5.0 * with_journal.losses
    assert without.redone > 3 * with_journal.redone
    assert without.seconds > with_journal.seconds


def test_kinds_starting_and_handing_over_take_their_time():
    step = SimulatedStage("a", 6, 10.0, load=3.0, on="gpu")
    assert simulate([step], SimulatedFleet(1, {"gpu": 6}, start=2.0), 0).seconds == pytest.approx(15.0)
    assert simulate([step], SimulatedFleet(6, {"gpu": 1}, hand=1.0), 0).seconds == pytest.approx(69.0)


def test_spread_is_that_of_the_logarithm():
    step = SimulatedStage("a", 4000, 7.0, sigma=0.4)
    seconds = durations(step, 5)
    assert spread_of(seconds.tolist()) == pytest.approx(0.4, rel=0.05)
    assert seconds.mean() == pytest.approx(7.0, rel=0.05)
    assert spread_of([1.0, 2.0]) == 0.0
