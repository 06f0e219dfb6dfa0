import numpy as np
import pytest

from pipeline.core.geometry import area, iou
from stages.backends.scorers.subject_features import SubjectMass
from stages.training.scorer.pairs import (
    CUT,
    CUT_KEEPS,
    INSIDE,
    MIN_SHIFT,
    SHIFTED,
    TILTED,
    canvas_example,
    crop_quality,
    inside_example,
)


@pytest.fixture
def subject() -> np.ndarray:
    mask = np.zeros((60, 90), np.float32)
    mask[20:40, 30:60] = 1
    return mask


def test_canvas_pairs_have_equal_area_and_fit_their_kind(subject: np.ndarray) -> None:
    canvas, photo = np.zeros((120, 160, 3), np.uint8), np.array([40.0, 30.0, 130.0, 90.0])
    example = canvas_example(canvas, photo, subject, "p", np.random.default_rng(0))
    boxes = example.boxes * [160, 120, 160, 120]
    mask = np.zeros((120, 160), np.float32)
    mask[30:90, 40:130] = subject
    assert {kind for _, _, kind in example.pairs} == {SHIFTED, TILTED, CUT}
    assert boxes.min() >= -1e-6 and (boxes <= np.array([160, 120, 160, 120]) + 1e-6).all()
    for better, worse, kind in example.pairs:
        good, bad = boxes[better], boxes[worse]
        assert better == 0 and area(bad) == pytest.approx(area(good))
        ratio = (bad[2] - bad[0]) / (bad[3] - bad[1]) / 1.5
        if kind == SHIFTED:
            assert ratio == pytest.approx(1.0) and iou(good, bad) < 1 - MIN_SHIFT / 2
        elif kind == TILTED:
            assert max(ratio, 1 / ratio) >= 1.4 - 1e-9
        else:
            assert SubjectMass(mask).kept(bad[None])[0] <= CUT_KEEPS


def test_a_photo_that_fills_its_canvas_gives_no_shifted_pair(subject: np.ndarray) -> None:
    canvas = np.zeros((60, 90, 3), np.uint8)
    example = canvas_example(canvas, np.array([0.0, 0.0, 90.0, 60.0]), subject, "p", np.random.default_rng(0))
    assert example.pairs == ()


def test_inside_pairs_follow_the_rule(subject: np.ndarray) -> None:
    picture = np.zeros((60, 90, 3), np.uint8)
    example = inside_example(picture, subject, "p", np.random.default_rng(1))
    quality = crop_quality(subject, example.boxes)
    assert example.pairs and all(kind == INSIDE for _, _, kind in example.pairs)
    assert all(quality[better] > quality[worse] for better, worse, _ in example.pairs)
    areas = [area(box) for box in example.boxes]
    assert max(areas) == pytest.approx(min(areas))


def test_a_photo_without_one_subject_gives_no_pairs() -> None:
    example = inside_example(
        np.zeros((60, 90, 3), np.uint8), np.ones((60, 90), np.float32), "p", np.random.default_rng(1)
    )
    assert example.pairs == ()
