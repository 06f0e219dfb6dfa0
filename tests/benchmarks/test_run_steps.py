"""The steps of one process are timed at two sizes."""

from benchmarks.run_steps import STEPS, step_growth


def test_each_step_has_its_growth():
    found = step_growth(2000)
    assert set(found) == set(STEPS)
    assert all(set(figures) == {"tenth", "whole", "growth"} for figures in found.values())
    assert found["near vectors"]["whole"] > 0
