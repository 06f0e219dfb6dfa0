import numpy as np
import pytest

from stages.canvases.detail_match import matched


@pytest.fixture(scope="module")
def canvas():
    """A smooth paint around a photo with detail, [64, 96, 3], and where the photo is."""
    rng = np.random.default_rng(0)
    inside = np.zeros((64, 96), bool)
    inside[16:48, 24:72] = True
    detail = rng.normal(0, np.where(inside, 20, 10)[..., None], (64, 96, 3))
    return (128 + detail).astype(np.float32), inside


def contrast(values):
    return float(values.std())


def test_paint_takes_the_contrast_of_the_photo(canvas):
    pixels, inside = canvas
    out = matched(pixels, inside, 1.0)
    assert contrast(out[inside]) == contrast(pixels[inside])
    assert contrast(pixels[~inside]) < 0.6 * contrast(pixels[inside])
    assert contrast(out[~inside]) > 0.85 * contrast(pixels[inside])


def test_no_pixel_of_the_photo_changes(canvas):
    pixels, inside = canvas
    assert (matched(pixels, inside, 1.0)[inside] == pixels[inside]).all()


def test_strength_is_gradual_and_zero_changes_nothing(canvas):
    pixels, inside = canvas
    steps = [contrast(matched(pixels, inside, strength)[~inside]) for strength in (0.0, 0.5, 1.0)]
    assert steps == sorted(steps) and matched(pixels, inside, 0.0) is pixels


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_canvas_of_one_kind_is_unchanged(canvas, everywhere):
    pixels, inside = canvas
    assert matched(pixels, np.full_like(inside, everywhere), 1.0) is pixels
