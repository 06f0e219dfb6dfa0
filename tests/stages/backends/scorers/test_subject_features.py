import numpy as np
import pytest

from stages.backends.scorers.subject_features import COLUMNS, SubjectMass, subject_features


def columns(mask: np.ndarray, *boxes: tuple[float, float, float, float]) -> dict[str, np.ndarray]:
    return dict(zip(COLUMNS, subject_features(mask, np.array(boxes, float)).T, strict=True))


@pytest.fixture
def mask() -> np.ndarray:
    made = np.zeros((60, 100), np.float32)
    made[20:40, 40:60] = 1.0
    return made


def test_kept_and_cut_of_whole_half_and_none(mask: np.ndarray) -> None:
    found = columns(mask, (0.2, 0.1, 0.8, 0.9), (0.5, 0.1, 0.9, 0.9), (0.7, 0.1, 0.9, 0.9))
    assert found["kept"] == pytest.approx([1.0, 0.5, 0.0])
    assert found["cut_side_worse"][0] == 0 and found["cut_side_worse"][1] > 0.3 and found["cut_side_worse"][2] == 0
    assert found["off_centre_x"][0] == pytest.approx(0.0, abs=1e-9) and found["off_centre_x"][1] > 0.2


def test_mirrored_picture_has_the_same_features(mask: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(mask + rng.uniform(0, 0.3, mask.shape), 0, 1).astype(np.float32)
    boxes = np.array([(0.1, 0.2, 0.7, 0.9), (0.33, 0.0, 1.0, 0.5)])
    flipped = boxes.copy()
    flipped[:, [0, 2]] = 1 - boxes[:, [2, 0]]
    assert subject_features(noisy[:, ::-1], flipped) == pytest.approx(subject_features(noisy, boxes), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_even_masks_and_degenerate_boxes_stay_finite(value: float) -> None:
    flat = np.full((30, 50), value, np.float32)
    found = subject_features(flat, np.array([(0, 0, 1, 1), (0.5, 0.5, 0.5, 0.5), (-0.5, -0.5, 2, 2)]))
    assert found.shape == (3, len(COLUMNS)) and np.isfinite(found).all() and np.abs(found).max() <= 3


def test_concentration_tells_one_subject_from_an_even_mask(mask: np.ndarray) -> None:
    whole = (0.0, 0.0, 1.0, 1.0)
    assert columns(mask, whole)["concentration"][0] > 0.5
    assert columns(np.ones_like(mask), whole)["concentration"][0] == pytest.approx(0.0, abs=0.02)


def test_sums_match_slices(mask: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    soft = rng.uniform(0, 1, (37, 53)).astype(np.float32)
    masses = SubjectMass(soft)
    kept = masses.kept(np.array([[5.0, 7.0, 20.0, 30.0]]))
    assert kept[0] == pytest.approx((soft.astype(float)[7:30, 5:20] ** 2).sum() / masses.total)


def test_elongation_counts_beyond_16_to_9_alike_both_ways() -> None:
    mask = np.zeros((100, 200), np.float32)
    mask[40:60, 80:120] = 1
    made = [(160, 90), (90, 160), (100, 50), (50, 100), (50, 50)]  # width and height in pixels
    boxes = np.array([[0, 0, width / 200, height / 100] for width, height in made])
    told = subject_features(mask, boxes)[:, COLUMNS.index("elongation")]
    assert told[[0, 1, 4]] == pytest.approx(0.0, abs=1e-9) and told[2] == pytest.approx(told[3]) and told[2] > 0.1
