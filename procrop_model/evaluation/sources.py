"""What ``evaluate_set`` measures: a cropper, a scorer of given boxes, or boxes that somebody else made.

Notation: Q proposals, N given boxes of an image.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from pipeline.core.errors import UsageError
from procrop_model.datasets.labelled import BoxXyxy, LabelledImage
from procrop_model.evaluation.baselines import Pixels
from procrop_model.evaluation.evaluate_run import CropperLike
from procrop_model.evaluation.set_metrics import box_ious
from procrop_model.inference.predictor import Floats

ScoreBoxes = Callable[[Pixels, Floats], Floats]


class BoxSource(Protocol):
    """Whatever gives crops, or scores of crops; one that cannot give one of them raises UsageError."""

    @property
    def states_chances(self) -> bool:
        """Whether the scores of its proposals are the chance of an IoU of 0.75 with the best crop."""

    def proposals(self, image: LabelledImage, pixels: Pixels, own_key: str) -> tuple[Floats, Floats]:
        """Boxes [Q, 4] in pixels and their scores [Q], best first. own_key: content key of the image, or ""."""

    def scores(self, image: LabelledImage, pixels: Pixels, boxes: Floats) -> Floats:
        """Scores [N] of boxes [N, 4] in pixels; a higher one is better."""


class CropperSource:
    """A cropper; an image is never among its own references."""

    def __init__(self, cropper: CropperLike) -> None:
        self.cropper = cropper
        self.states_chances = cropper.states_chances

    def proposals(self, image: LabelledImage, pixels: Pixels, own_key: str) -> tuple[Floats, Floats]:
        """The cropper's proposals."""
        boxes, scores = self.cropper.propose([pixels], exclude=[{own_key} if own_key else set()])
        return boxes[0], scores[0]

    def scores(self, image: LabelledImage, pixels: Pixels, boxes: Floats) -> Floats:
        """The cropper's scores of given boxes."""
        return self.cropper.score_boxes([pixels], [boxes])[0]


class ScorerSource:
    """A scorer of crops, which proposes none.

    Args:
        score: gives the scores [N] of boxes [N, 4] in pixels of an image uint8 [H, W, 3].
    """

    states_chances = False

    def __init__(self, score: ScoreBoxes) -> None:
        self._score = score

    def proposals(self, image: LabelledImage, pixels: Pixels, own_key: str) -> tuple[Floats, Floats]:
        """Raises UsageError: a scorer has no crops of its own."""
        raise UsageError(
            "a scorer has no crops of its own: measure it by a protocol that ranks given boxes, gaic or fcdb_pairs"
        )

    def scores(self, image: LabelledImage, pixels: Pixels, boxes: Floats) -> Floats:
        """The scorer's scores."""
        return self._score(pixels, boxes)


class GivenBoxes:
    """Boxes from elsewhere; like a baseline they rank given crops by IoU with the first box of the image.

    Args:
        boxes: of each image file, in pixels, best first.
    """

    states_chances = False

    def __init__(self, boxes: Mapping[Path, Sequence[BoxXyxy]]) -> None:
        self._boxes = boxes

    def proposals(self, image: LabelledImage, pixels: Pixels, own_key: str) -> tuple[Floats, Floats]:
        """The image's boxes, with scores that fall from 1 in equal steps."""
        boxes = np.array(self._boxes[image.path], np.float32)
        return boxes, np.linspace(1, 0, len(boxes), endpoint=False, dtype=np.float32)

    def scores(self, image: LabelledImage, pixels: Pixels, boxes: Floats) -> Floats:
        """IoU with the image's first box."""
        return box_ious([[float(x) for x in box] for box in boxes], self._boxes[image.path][0]).astype(np.float32)


class ResizedSource:
    """Another source that sees each image reduced, as a cropper sees a small image; boxes stay in pixels of the original.

    Args:
        source: what is measured.
        long_side: of the reduced image in pixels; smaller images stay as they are.
    """

    def __init__(self, source: BoxSource, long_side: int) -> None:
        self._source, self._long_side = source, long_side
        self.cropper = getattr(source, "cropper", None)
        self.states_chances = source.states_chances

    def proposals(self, image: LabelledImage, pixels: Pixels, own_key: str) -> tuple[Floats, Floats]:
        """The source's proposals for the reduced image."""
        small, scale = self._reduced(pixels)
        boxes, scores = self._source.proposals(image, small, own_key)
        return boxes / scale, scores

    def scores(self, image: LabelledImage, pixels: Pixels, boxes: Floats) -> Floats:
        """The source's scores of the boxes on the reduced image."""
        small, scale = self._reduced(pixels)
        return self._source.scores(image, small, boxes * scale)

    def _reduced(self, pixels: Pixels) -> tuple[Pixels, Floats]:
        """The image, and factors [4] from its pixels to those of the reduced one."""
        height, width = pixels.shape[:2]
        factor = min(1.0, self._long_side / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)) if factor < 1 else pixels
        return small, np.array([size[0] / width, size[1] / height] * 2, np.float32)
