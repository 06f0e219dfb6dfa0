"""Baselines that look at the picture: boxes inside it, on the subject, on pictures that are not square."""

import numpy as np
import pytest

from pipeline.core.geometry import area, cover
from procrop_model.evaluation.baselines import MARGIN, finders, fit_margin, saliency_box, scaled
from procrop_model.evaluation.smartcrop import smartcrop_box

SIZES = [(96, 60), (60, 96), (200, 40), (1, 1), (3, 500)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_window_lies_in_its_picture_and_is_found_again(width: int, height: int) -> None:
    image = np.random.default_rng(width).integers(0, 255, (height, width, 3)).astype(np.uint8)
    box = smartcrop_box(image)
    assert box == smartcrop_box(image)
    assert 0 <= box[0] < box[2] <= width + 1e-6 and 0 <= box[1] < box[3] <= height + 1e-6


@pytest.mark.parametrize("place", ["left", "right"])
def test_smartcrop_goes_to_colour_on_gray(place: str) -> None:
    image = np.full((60, 120, 3), 128, np.uint8)
    x = 10 if place == "left" else 90
    image[20:40, x : x + 20] = (220, 60, 40)
    box = smartcrop_box(image)
    assert area(box) < 120 * 60
    assert cover((x, 20, x + 20, 40), box) > 0.95
    assert (box[0] + box[2] < 120) == (place == "left")


def test_a_saliency_box_holds_the_subject_with_a_margin() -> None:
    mask = np.zeros((60, 100), np.float32)
    mask[20:30, 40:60] = 1
    assert saliency_box(mask, margin=0.1) == pytest.approx((30, 14, 70, 36))
    assert saliency_box(mask, margin=0) == (40, 20, 60, 30)
    mask[:, :] = 0.4
    assert saliency_box(mask) == (0, 0, 100, 60)


def test_the_margin_is_fitted_on_known_boxes() -> None:
    masks = [np.zeros((60, 100), np.float32), np.zeros((100, 60), np.float32)]
    for mask in masks:
        mask[30:40, 30:35] = 1
    assert fit_margin(masks, [saliency_box(mask, 0.15) for mask in masks]) == 0.15
    assert fit_margin([], []) == MARGIN


def test_the_segmenter_is_handed_in() -> None:
    seen = []

    def segment(images):
        seen.append(images[0].shape)
        return [np.ones(images[0].shape[:2], np.float32)]

    found = finders(segment)
    assert list(found) == ["saliency_box", "smartcrop"] and list(finders()) == ["smartcrop"]
    assert found["saliency_box"](np.zeros((40, 70, 3), np.uint8)) == (0, 0, 70, 40) and seen == [(40, 70, 3)]
    assert scaled((0.05, 0.05, 0.95, 0.95), 100, 40) == pytest.approx((5, 2, 95, 38))
