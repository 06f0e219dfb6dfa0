import numpy as np
import pytest

from stages.training.scorer.calibration import probability, reliability
from stages.training.scorer.pairs import INSIDE, SHIFTED, Example


def example_of(kinds: list[str]) -> Example:
    """Pairs (0, 1), (2, 3) and so on, each of its kind."""
    pairs = tuple((2 * number, 2 * number + 1, kind) for number, kind in enumerate(kinds))
    return Example("p", np.zeros((4, 4, 3), np.uint8), np.zeros((2 * len(kinds), 4)), pairs)


def scores_for(chances: np.ndarray) -> np.ndarray:
    """A first crop with that chance against a second; "scores" are chances against a bad crop here."""
    return np.stack([chances, np.full(len(chances), 0.5)], 1).ravel()


def log_odds(chances: np.ndarray) -> np.ndarray:
    return np.log(chances / (1 - chances))


def test_probability_is_symmetric_and_of_the_log_odds() -> None:
    assert probability(np.array(np.log(4.0)), np.array(0.0)) == pytest.approx(0.8)
    a, b = np.array([-9.0, 0.3, 9.0]), np.array([8.0, 0.6, -2.0])
    assert probability(a, b) + probability(b, a) == pytest.approx(1.0)


def test_calibration_error_is_small_only_for_a_calibrated_scorer() -> None:
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.02, 0.98, 4000)
    chances = np.where(rng.uniform(size=4000) < chances, chances, 1 - chances)  # the better one is first
    example = example_of([SHIFTED] * 4000)
    honest = reliability([example], [scores_for(chances)], log_odds)[SHIFTED]
    boastful = reliability([example], [scores_for(np.where(chances > 0.5, 0.999, 0.001))], log_odds)[SHIFTED]
    assert honest["error"] < 0.03 and boastful["error"] > 0.2
    assert honest["right"] == boastful["right"]


def test_all_counts_each_kind_alike() -> None:
    kinds = [SHIFTED] * 1 + [INSIDE] * 9
    chances = np.array([0.9] + [0.1] * 9)
    told = reliability([example_of(kinds)], [scores_for(chances)], log_odds)
    assert told[SHIFTED]["right"] == 1.0 and told[INSIDE]["right"] == 0.0 and told["all"]["right"] == 0.5
    assert sum(row["weight"] for row in told["bins"]) == pytest.approx(1.0)
