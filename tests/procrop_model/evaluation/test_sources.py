"""What is measured: croppers, scorers, given boxes, and each of them on reduced images."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UsageError
from procrop_model.datasets.labelled import LabelledImage
from procrop_model.evaluation.sources import GivenBoxes, ResizedSource, ScorerSource

IMAGE = LabelledImage("n.jpg", Path("n.jpg"), "test", 80, 40, (), ())
PIXELS = np.zeros((40, 80, 3), np.uint8)
BOXES = np.array([[0, 0, 40, 40], [0, 0, 80, 40]], np.float32)


def test_given_boxes_are_answers_and_rank_by_overlap() -> None:
    source = GivenBoxes({IMAGE.path: [(0, 0, 40, 40), (8, 4, 80, 40)]})
    boxes, scores = source.proposals(IMAGE, PIXELS, "")
    assert boxes.tolist() == [[0, 0, 40, 40], [8, 4, 80, 40]] and scores.tolist() == [1.0, 0.5]
    assert source.scores(IMAGE, PIXELS, BOXES).tolist() == [1.0, 0.5]


def test_a_scorer_has_scores_and_no_crops() -> None:
    source = ScorerSource(lambda pixels, boxes: boxes[:, 2] / pixels.shape[1])
    assert source.scores(IMAGE, PIXELS, BOXES).tolist() == [0.5, 1.0]
    with pytest.raises(UsageError, match="a scorer has no crops of its own"):
        source.proposals(IMAGE, PIXELS, "")


class Recording:
    """Answers with the right half of what it sees, and keeps what it was asked."""

    states_chances = False

    cropper = "the network"

    def __init__(self) -> None:
        self.shapes, self.asked = [], []

    def proposals(self, image, pixels, own_key):
        self.shapes.append(pixels.shape)
        height, width = pixels.shape[:2]
        return np.array([[width / 2, 0, width, height]], np.float32), np.ones(1, np.float32)

    def scores(self, image, pixels, boxes):
        self.asked.append(boxes.tolist())
        return np.zeros(len(boxes), np.float32)


def test_a_reduced_image_keeps_the_pixels_of_the_original() -> None:
    inner = Recording()
    source = ResizedSource(inner, 20)
    assert source.proposals(IMAGE, PIXELS, "")[0].tolist() == [[40, 0, 80, 40]] and inner.shapes == [(10, 20, 3)]
    source.scores(IMAGE, PIXELS, BOXES)
    assert inner.asked == [[[0, 0, 10, 10], [0, 0, 20, 10]]] and source.cropper == "the network"
    ResizedSource(inner, 200).scores(IMAGE, PIXELS, BOXES)
    assert inner.asked[1] == BOXES.tolist()  # a small image is not enlarged
