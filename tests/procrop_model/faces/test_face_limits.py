"""Heads are inside or outside of a crop, and the result says what could not be kept."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled
from procrop_model.cropper import Cropper, Limits
from procrop_model.faces.face_limits import EDGE, FaceLimits
from procrop_model.faces.heads import chin_to_hair, head_boxes
from procrop_model.inference.limit_scoring import largest_window

ASPECTS = [None, "1:1", "4:5", "16:9"]
SIZE = (900, 600)


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, len(rows[0]) if rows else 4)


def shares(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of each region in each box, [M, N]."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2) / (regions[:, 2:] - regions[:, :2]).prod(1)


def some_boxes(seed: int, ratio: float | None, number: int = 20) -> np.ndarray:
    """Boxes anywhere in the picture, of an aspect or of any."""
    rng = np.random.default_rng(seed)
    most = np.array([1.0, 1.0]) if ratio is None else np.array(largest_window(ratio, SIZE))
    sides = rng.uniform(0.5, 0.95, (number, 1 if ratio else 2)) * most
    low = rng.uniform(0, 1, (number, 2)) * (1 - sides)
    return np.concatenate([low, low + sides], 1).astype(np.float32)


@pytest.fixture(scope="module")
def cropper() -> Cropper:
    torch.set_num_threads(1)
    return Cropper.load(bundled("assets") / "models" / "cropper", precision="fp32")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    with Image.open(bundled("assets") / "photos" / "astronaut.jpg") as photo:
        return photo.convert("RGB")


def test_a_box_that_holds_all_heads_violates_nothing() -> None:
    limits = FaceLimits(boxes_of((0.3, 0.3, 0.5, 0.6, 0.9), (0.6, 0.35, 0.75, 0.55, 0.8)))
    assert limits.prominent.tolist() == [True, True]
    assert limits.violation(boxes_of((0, 0, 1, 1), (0.2, 0.1, 0.9, 0.8))).tolist() == [0, 0]
    assert limits.cuts(boxes_of((0.2, 0.1, 0.9, 0.8))[0]) == (0, 0)


def test_a_cut_head_is_better_than_no_face_or_half_of_one() -> None:
    face = (0.4, 0.4, 0.6, 0.7)
    limits = FaceLimits(boxes_of(face))
    part = chin_to_hair(boxes_of(face))[0].tolist()
    whole, head_cut, outside, few, much = (
        limits.violation(boxes_of(box))[0]
        for box in [(0, 0, 1, 1), (0, part[1], 1, 1), (0.8, 0, 1, 1), (0.58, 0, 1, 1), (0.42, 0, 1, 1)]
    )
    assert 0 == whole < head_cut < much < outside < few


def test_small_faces_count_by_their_size_and_only_when_cut() -> None:
    limits = FaceLimits(boxes_of((0.1, 0.3, 0.4, 0.7), (0.8, 0.4, 0.84, 0.46)))
    assert limits.prominent.tolist() == [True, False]
    outside, cut, inside = boxes_of((0, 0, 0.7, 1)), boxes_of((0, 0, 0.82, 1)), boxes_of((0, 0, 1, 1))
    assert limits.violation(cut)[0] == 0
    assert (
        limits.background_cut(outside)[0] == limits.background_cut(inside)[0] == 0 < limits.background_cut(cut)[0] < 0.3
    )


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_boxes_cut_no_head_and_keep_prominent_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0.05, 0.8, (3, 2))
    limits = FaceLimits(np.concatenate([low, low + rng.uniform(0.03, 0.15, (3, 2))], 1).astype(np.float32))
    boxes = some_boxes(seed, None)
    moved = limits.adjust(boxes)
    covered = shares(moved, limits.heads)
    assert moved.shape == boxes.shape and moved.min() >= 0 and moved.max() <= 1
    assert (limits.violation(moved) == 0).all() and (covered[:, limits.prominent] >= 1 - 2 * EDGE).all()
    assert ((covered <= 2 * EDGE) | (covered >= 1 - 2 * EDGE)).all()


@pytest.mark.parametrize("ratio", [1.0, 0.8, 16 / 9])
def test_windows_in_shape_hold_heads_wherever_one_can(ratio: float) -> None:
    limits = FaceLimits(boxes_of((0.1, 0.2, 0.2, 0.35), (0.3, 0.25, 0.4, 0.4), (0.9, 0.5, 0.93, 0.55)))
    boxes, largest = some_boxes(1, ratio), largest_window(ratio, SIZE)
    moved = limits.adjust_in_shape(boxes, largest)
    sides = (moved[:, 2:] - moved[:, :2]) * SIZE
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], ratio, rtol=1e-4)
    assert moved.min() >= -1e-6 and moved.max() <= 1 + 1e-6
    assert (limits.violation(moved) == 0).all() and (limits.background_cut(moved) == 0).all()


def test_boxes_that_cut_nothing_are_returned_as_they_are() -> None:
    limits = FaceLimits(boxes_of((0.4, 0.4, 0.5, 0.5)))
    boxes = boxes_of((0.1, 0.1, 0.9, 0.9), (0.3, 0.2, 0.7, 0.8))
    assert np.array_equal(limits.adjust(boxes), boxes)
    square = boxes_of((0.2, 0.1, 0.2 + 0.5333, 0.9))
    assert np.array_equal(limits.adjust_in_shape(square, largest_window(1.0, SIZE)), square)


def test_a_head_too_wide_for_the_aspect_keeps_the_face_whole() -> None:
    face = boxes_of((0.2, 0.3, 0.8, 0.72))
    limits = FaceLimits(face)
    moved = limits.adjust_in_shape(some_boxes(2, 16 / 9), largest_window(16 / 9, (600, 600)))
    assert (shares(moved, head_boxes(face)) < 0.99).all()
    assert (shares(moved, chin_to_hair(face)) > 0.98).all() and (limits.violation(moved) < 0.5).all()


def test_without_faces_nothing_changes() -> None:
    limits, boxes = FaceLimits(np.zeros((0, 5), np.float32)), some_boxes(0, None)
    assert len(limits) == 0 and limits.required() is None
    assert not limits.violation(boxes).any() and not limits.background_cut(boxes).any()
    assert np.array_equal(limits.adjust(boxes), boxes)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_no_crop_cuts_the_head_of_a_person(cropper: Cropper, astronaut: Image.Image, aspect: str | None) -> None:
    for crop in cropper(astronaut, aspect=aspect, top=3):
        assert crop.faces == 1 and crop.fulfilled and (crop.heads_cut, crop.faces_cut) == (0, 0)
        x1, y1, x2, y2 = crop.box_px
        assert x1 <= 0.32 * 512 and y1 <= 0.06 * 512 and x2 >= 0.56 * 512 and y2 >= 0.35 * 512


def test_off_looks_for_no_faces_and_a_wrong_word_is_refused(cropper: Cropper, astronaut: Image.Image) -> None:
    assert all(crop.faces == 0 for crop in cropper(astronaut, limits=Limits(faces="off")))
    with pytest.raises(UsageError, match="write keep or off"):
        cropper(astronaut, limits=Limits(faces="some"))


def test_faces_of_another_detector_are_kept(cropper: Cropper, astronaut: Image.Image) -> None:
    corner = boxes_of((0.02, 0.85, 0.1, 0.95))
    for crop in cropper(astronaut, aspect="4:5", limits=Limits(faces=lambda image: corner)):
        assert crop.fulfilled and crop.box_px[0] <= 0.01 * 512 and crop.box_px[3] >= 0.955 * 512


def test_a_face_that_cannot_be_kept_is_told(cropper: Cropper, astronaut: Image.Image) -> None:
    large = astronaut.crop((140, 30, 320, 200))
    (crop,) = cropper(large, aspect="3:1", top=1)
    assert crop.faces == 1 and not crop.fulfilled and crop.heads_cut == 1


def picture(kind: str, astronaut: Image.Image) -> Image.Image:
    """Pictures that ask much of a face limit."""
    sheet = Image.new("RGB", (1000, 550), "black" if kind == "black" else "white")
    if kind == "fifty faces":
        head = astronaut.crop((130, 20, 330, 240)).resize((100, 110))
        for place in range(50):
            sheet.paste(head, (place % 10 * 100, place // 10 * 110))
    if kind == "drawing":
        ImageDraw.Draw(sheet).ellipse((300, 100, 500, 350), outline="black", width=4)
    return astronaut.crop((160, 60, 290, 190)) if kind == "one face" else sheet


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("kind", ["fifty faces", "one face", "drawing", "black"])
def test_hard_pictures_give_sane_crops(cropper: Cropper, astronaut: Image.Image, kind: str, aspect: str | None) -> None:
    given = picture(kind, astronaut)
    crops = cropper(given, aspect=aspect)
    assert crops
    for crop in crops:
        x1, y1, x2, y2 = crop.box_px
        assert 0 <= x1 < x2 <= given.width and 0 <= y1 < y2 <= given.height
    x1, y1, x2, y2 = crops[0].box_px
    assert (x2 - x1) * (y2 - y1) >= 0.1 * given.width * given.height
