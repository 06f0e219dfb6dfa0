import numpy as np
import pytest

from pipeline.core.records import MASK_SIDE
from stages.training.scorer.pairs import SHIFTED, Example
from stages.training.scorer.views import degraded, make_views, mirrored, with_long_side
from tests.fakes import FakeSegmenter


@pytest.fixture
def example():
    picture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    return Example("photo", picture, np.array([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 1.0]]), ((0, 1, SHIFTED),))


def test_mirroring_twice_gives_the_example_again(example):
    once, twice = mirrored(example), mirrored(mirrored(example))
    assert (once.picture == example.picture[:, ::-1]).all() and once.pairs == example.pairs
    np.testing.assert_allclose(once.boxes[0], [0.5, 0.2, 0.9, 0.6])
    assert (twice.picture == example.picture).all()
    np.testing.assert_allclose(twice.boxes, example.boxes)


@pytest.mark.parametrize(("strength", "changes"), [(0.0, False), (1.0, True), (2.0, True)])
def test_degrading_keeps_the_size_and_follows_the_seed(example, strength, changes):
    first, again = (degraded(example.picture, np.random.default_rng(1), strength) for _ in range(2))
    assert first.shape == example.picture.shape and first.dtype == np.uint8
    assert (first == again).all() and bool((first != example.picture).any()) == changes


def test_a_picture_is_only_ever_reduced(example):
    assert with_long_side(example.picture, 40).shape == (24, 40, 3)
    assert (with_long_side(example.picture, 800) == example.picture).all()


def test_every_other_view_is_mirrored(example):
    calls = []
    views = make_views([example], FakeSegmenter(), 0, 2, lambda *step: calls.append(step))
    assert [np.allclose(view.example.boxes, example.boxes) for view in views] == [True, False]
    assert all(view.mask.shape == (MASK_SIDE, MASK_SIDE) and len(view.maps) == 3 for view in views) and calls == [
        ("look", 1, 1)
    ]
