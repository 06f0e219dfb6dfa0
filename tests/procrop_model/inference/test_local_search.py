"""Local search: it never loses, it stays inside, it keeps a shape when told."""

from collections.abc import Sequence

import numpy as np
import pytest

from procrop_model.inference.local_search import local_search, neighbours

GOAL = np.array([0.3, 0.2, 0.8, 0.7], np.float32)


def score(boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Closeness to a box."""
    return [1 - np.abs(rows - GOAL).sum(1) for rows in boxes]


def test_it_climbs_to_a_better_box_and_keeps_the_order() -> None:
    start = [np.array([[0.1, 0.1, 0.6, 0.6], GOAL], np.float32)]
    (found,), (reached,) = local_search(start, score)
    assert reached[0] > score(start)[0][0]
    np.testing.assert_array_equal(found[1], GOAL)
    np.testing.assert_allclose(score([found])[0], reached)


@pytest.mark.parametrize("keep_shape", [True, False])
def test_neighbours_stay_inside(keep_shape: bool) -> None:
    for box in ([0.0, 0.0, 1.0, 1.0], [0.0, 0.4, 0.3, 0.9], [0.9, 0.9, 1.0, 1.0]):
        tried = neighbours(np.array(box, np.float32), 0.12, keep_shape)
        assert tried.min() >= 0
        assert tried.max() <= 1


def test_a_kept_shape_is_kept() -> None:
    start = [np.array([[0.1, 0.1, 0.5, 0.3]], np.float32)]
    (found,), _ = local_search(start, score, keep_shape=True)
    sides = found[:, 2:] - found[:, :2]
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], 2.0, rtol=1e-4)
