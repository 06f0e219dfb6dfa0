"""Augmentations keep boxes on what they frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from procrop_model.training.augment import (
    Annotated,
    AugmentConfig,
    augment,
    degrade_image,
    jpeg,
    margins_cut,
    mirror,
    trim,
)


def sample(seed: int) -> Annotated:
    """A grey 70 x 50 picture whose first crop is white."""
    rng = np.random.default_rng(seed)
    image = np.full((50, 70, 3), 60, np.uint8)
    x1, y1 = int(rng.integers(0, 30)), int(rng.integers(0, 20))
    x2, y2 = x1 + int(rng.integers(10, 40)), y1 + int(rng.integers(10, 30))
    image[y1:y2, x1:x2] = 255
    crops = np.array([[x1, y1, x2, y2], [0, 0, 70, 50], [x1, y1, x2 - 2, y2 - 2]], np.float32)
    return Annotated(image, crops, np.array([8, 3, 5], np.float32))


def assert_framed(found: Annotated) -> None:
    x1, y1, x2, y2 = found.crops[0].astype(int)
    white = found.image.min(2) > 150
    assert white[y1:y2, x1:x2].all()
    assert white.sum() == (x2 - x1) * (y2 - y1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_trim_and_mirror_keep_the_pseudo_label_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = trim(mirror(sample(seed)), rng.random(4))
    assert_framed(found)
    height, width = found.image.shape[:2]
    assert (found.crops >= 0).all()
    assert (found.crops[:, 2] <= width).all()
    assert (found.crops[:, 3] <= height).all()
    assert len(found.crops) == len(found.scores)


def test_a_whole_trim_leaves_the_photo_alone() -> None:
    found = trim(sample(1), np.ones(4))
    height, width = found.image.shape[:2]
    assert found.crops[0].tolist() == [0, 0, width, height]
    assert found.scores.tolist() == [8, 5]  # the whole canvas lost more than it may, the smaller crop stays


def test_the_pseudo_label_fills_the_wanted_share() -> None:
    image, crop = np.zeros((1000, 1000, 3), np.uint8), np.array([[300, 350, 700, 650]], np.float32)
    wide = Annotated(image, crop, np.ones(1, np.float32))
    config = AugmentConfig(fill=(0.5, 0.8), kept=(0.6, 0.9), whole=0.0)
    shares, margins = [], []
    for seed in range(400):
        view = trim(wide, margins_cut(wide, config, np.random.default_rng(seed)))
        height, width = view.image.shape[:2]
        x1, y1, x2, y2 = view.crops[0]
        assert (x2 - x1, y2 - y1) == (400, 300)
        shares.append(400 * 300 / (width * height))
        margins.append([x1 > 1, y1 > 1, width - x2 > 1, height - y2 > 1])
    some = np.array(margins).any(1)
    assert 0.49 < np.min(np.array(shares)[some]) < 0.52 and 0.78 < np.quantile(np.array(shares)[some], 0.97) < 0.82
    across, down = np.mean(margins, 0)[[0, 2]], np.mean(margins, 0)[[1, 3]]
    assert (abs(across - 0.6) < 0.09).all() and (abs(down - 0.9) < 0.09).all()


def test_a_whole_view_is_the_pseudo_label_alone() -> None:
    view = trim(sample(4), margins_cut(sample(4), AugmentConfig(whole=1.0), np.random.default_rng(0)))
    height, width = view.image.shape[:2]
    assert view.crops[0].tolist() == [0, 0, width, height]


def test_two_mirrors_are_none() -> None:
    again = mirror(mirror(sample(2)))
    np.testing.assert_array_equal(again.image, sample(2).image)
    np.testing.assert_array_equal(again.crops, sample(2).crops)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (augment(sample(3), AugmentConfig(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.crops, second.crops)
    assert not np.array_equal(first.image, augment(sample(3), AugmentConfig(), np.random.default_rng(6)).image)


@pytest.mark.parametrize("quality", [35, 95])
def test_jpeg_keeps_the_size(quality: int) -> None:
    assert jpeg(sample(0).image, quality).shape == (50, 70, 3)


def test_degradations_reach_paint_and_photo_alike() -> None:
    """A seam between two fine textures: what a degradation takes from one side it takes from the other."""
    rng = np.random.default_rng(0)
    image = rng.integers(90, 160, (64, 96, 3)).astype(np.uint8)
    always = AugmentConfig(degrade=1.0)
    shares = []
    for seed in range(8):
        found = degrade_image(Image.fromarray(image), always, np.random.default_rng(seed))
        assert found.shape == image.shape
        left, right = (float(np.std(half.astype(float) - half.mean())) for half in (found[:, :48], found[:, 48:]))
        assert left < np.std(image)
        shares.append(left / right)
    assert 0.9 < np.mean(shares) < 1.1
    untouched = degrade_image(Image.fromarray(image), AugmentConfig(degrade=0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(untouched, image)
