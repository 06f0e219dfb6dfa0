"""The ends of a subject count, however small: a crop that can hold an ear or a muzzle does not cut it."""

import numpy as np
import pytest
import torch

from pipeline.core.resources import bundled
from procrop_model.cropper import Cropper, Limits
from procrop_model.inference.subject_outline import SubjectOutline


def beast(height: int = 200, width: int = 300, left: float = 0.2) -> np.ndarray:
    """A body with a thin muzzle that reaches to ``left``, [h, w]."""
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    body = ((x - 0.6) / 0.18) ** 2 + ((y - 0.55) / 0.3) ** 2 < 1
    muzzle = (x > left) & (x < 0.6) & (abs(y - 0.45) < 0.05)
    return (body | muzzle).astype(np.float32)


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_the_outline_reaches_to_the_thin_end() -> None:
    outline = SubjectOutline(beast())
    assert outline.box is not None
    np.testing.assert_allclose(outline.box, [0.2, 0.25, 0.78, 0.85], atol=0.03)


def test_cut_ends_count_by_their_share_of_the_subject() -> None:
    outline = SubjectOutline(beast())
    whole, muzzle, both = outline.cut(boxes_of((0.1, 0.1, 0.9, 0.9), (0.317, 0.1, 0.9, 0.9), (0.317, 0.4, 0.9, 0.9)))
    assert whole == 0 and muzzle == pytest.approx(0.2, abs=0.04) and both > muzzle + 0.1


def test_an_end_that_the_photo_cuts_counts_less() -> None:
    free, at_border = SubjectOutline(beast()), SubjectOutline(beast()[:, 60:])
    assert at_border.box is not None and at_border.box[0] < 0.02
    cut = boxes_of((0.3, 0, 1, 1))
    assert 0 < at_border.cut(cut)[0] < 0.5 * 0.3 < free.cut(boxes_of((0.4, 0, 1, 1)))[0]


@pytest.mark.parametrize("mask", [np.zeros((40, 60)), np.full((40, 60), 0.4)])
def test_without_a_subject_nothing_is_cut(mask: np.ndarray) -> None:
    outline = SubjectOutline(mask.astype(np.float32))
    assert outline.box is None and outline.cut(boxes_of((0.3, 0.3, 0.5, 0.5))).tolist() == [0]


@pytest.mark.parametrize("aspect", ["1:1", "16:9"])
def test_a_crop_holds_the_muzzle_where_it_can(aspect: str) -> None:
    torch.set_num_threads(1)
    cropper = Cropper.load(bundled("assets") / "models" / "cropper", precision="fp32")
    mask = beast(left=0.3)
    for crop in cropper(
        bundled("assets") / "photos" / "coffee.jpg", aspect=aspect, limits=Limits(subject=lambda image: mask)
    ):
        assert crop.box_px[0] <= 0.32 * 600
