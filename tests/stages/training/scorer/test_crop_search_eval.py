import numpy as np
import pytest

from pipeline.core.geometry import area
from stages.training.scorer.crop_search_eval import agreement, best_crops, grid_boxes
from stages.training.scorer.pairs import CUT, INSIDE, Example
from tests.fakes import FakeScorer, FakeSegmenter


class LeftScorer(FakeScorer):
    """Prefers what lies to the left, in pixels: neither mirror nor size leaves its order alone."""

    def score(self, pictures, boxes):
        return [
            (np.exp(-box[:, 0]) * (picture.size[0] % 7)).astype(np.float32)
            for picture, box in zip(pictures, boxes, strict=True)
        ]


@pytest.fixture
def canvas() -> Example:
    picture = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    return Example("p", picture, np.array([[0.3, 0.3, 0.7, 0.7], [0.0, 0.0, 0.4, 0.4]]), ((0, 1, CUT),))


def test_candidates_have_the_photos_area_and_lie_on_the_canvas(canvas: Example) -> None:
    boxes = grid_boxes(canvas)
    assert boxes.shape == (147, 4) and [area(box) for box in boxes] == pytest.approx([36 * 24] * 147)
    assert boxes.min() >= -1e-6 and (boxes[:, 2:] <= np.array([90, 60]) + 1e-6).all()


def test_best_crop_of_a_subject_aware_scorer_beats_random(canvas: Example) -> None:
    inside = Example("p", canvas.picture, canvas.boxes, ((0, 1, INSIDE),))
    told = best_crops(FakeScorer(), FakeSegmenter(), [canvas, inside])
    assert told["canvases"] == 1 and told["by_score"] == told["possible"] == told["true_box"] == 1.0
    assert told["random"] < 0.6 and told["iou_by_score"] > told["iou_random"]
    worse = best_crops(LeftScorer(), FakeSegmenter(), [canvas])
    assert worse["by_score"] < told["by_score"]
    assert best_crops(FakeScorer(), FakeSegmenter(), [inside]) == {}


def test_mirror_agreement_is_one_for_a_symmetric_scorer_alone(canvas: Example) -> None:
    told = agreement(FakeScorer(), [canvas])
    assert set(told) == {"mirrored", "resized 0.8", "resized 1.25"}
    assert all(row["least"] > 0.9 for row in told.values())
    assert agreement(LeftScorer(), [canvas])["mirrored"]["mean"] < 0
