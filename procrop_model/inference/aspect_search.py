"""The best boxes of a given aspect ratio: decoded boxes brought to that ratio, scored again and improved by local search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.geometry import snap_aspect, to_norm
from procrop_model.inference.crop_options import Aspect
from procrop_model.inference.limit_scoring import WHOLE, CropConstraints, windows
from procrop_model.inference.local_search import local_search
from procrop_model.inference.predictor import SEARCHED, EncodedBatch, Floats, Predictor


@dataclass(frozen=True)
class Ranked:
    """N boxes of one image, best first.

    Args:
        boxes: [N, 4] xyxy in 0..1.
        scores: [N] in 0..1, on the scale of ``Prediction``.
        values: [N], the scores, but below -1 for boxes that violate the limits.
    """

    boxes: Floats
    scores: Floats
    values: Floats


class AspectSearch:
    """The search over a batch of encoded images."""

    def __init__(
        self,
        predictor: Predictor,
        encoded: EncodedBatch,
        sizes: Sequence[tuple[int, int]],
        constraints: Sequence[CropConstraints],
    ) -> None:
        """Proposes boxes of any aspect.

        Args:
            predictor: scores boxes.
            encoded: the B images.
            sizes: (width, height) of each original in pixels.
            constraints: limits of each image.
        """
        self._predictor, self._encoded = predictor, encoded
        self._sizes, self._constraints = sizes, constraints
        self._predictions = predictor.propose(encoded)

    def ranked(self, aspect: Aspect) -> list[Ranked]:
        """Boxes of each image with an aspect, or of any when it is free."""
        if aspect.is_free and not any(constraints.any_but_faces for constraints in self._constraints):
            return self._free()
        limited = any(constraints.any for constraints in self._constraints)
        candidates = [self._candidates(image, aspect.of(size)) for image, size in enumerate(self._sizes)]
        for constraints, boxes in zip(self._constraints, candidates, strict=True):
            constraints.relax(boxes)
        initial = self._values(candidates)
        leading = [
            boxes[np.argsort(-values, kind="stable")[:SEARCHED]]
            for boxes, values in zip(candidates, initial, strict=True)
        ]
        moved, values = local_search(leading, self._values, keep_shape=not aspect.is_free)
        scores = self.scores(moved) if limited else values
        return [_sorted(*of_image) for of_image in zip(moved, scores, values, strict=True)]

    def free_box(self, image: int) -> Floats:
        """The box [4] of an image that the model rates highest, of any aspect and without limits."""
        box: Floats = self._predictions[image].boxes[0]
        return box

    def _free(self) -> list[Ranked]:
        """The decoded boxes of each image, moved off the heads which they cut."""
        moved = [
            constraints.uncut(p.boxes) for constraints, p in zip(self._constraints, self._predictions, strict=True)
        ]
        scores = [p.scores for p in self._predictions]
        if any(len(constraints.faces) for constraints in self._constraints):
            again = self.scores(moved)
            each = zip(self._constraints, again, scores, strict=True)
            scores = [new if len(constraints.faces) else known for constraints, new, known in each]
        values = [
            constraints.penalise(*of_image)
            for constraints, *of_image in zip(self._constraints, moved, scores, strict=True)
        ]
        return [_sorted(*of_image) for of_image in zip(moved, scores, values, strict=True)]

    def largest(self, aspect: Aspect) -> list[Ranked]:
        """The largest boxes of an aspect, or the whole image when it is free, of each image."""
        ratios = [aspect.of(size) for size in self._sizes]
        boxes = [WHOLE if r is None else _largest(r, size) for r, size in zip(ratios, self._sizes, strict=True)]
        scores = self.scores(boxes)
        values = [
            constraints.penalise(*of_image)
            for constraints, *of_image in zip(self._constraints, boxes, scores, strict=True)
        ]
        return [_sorted(*of_image) for of_image in zip(boxes, scores, values, strict=True)]

    def _candidates(self, image: int, ratio: float | None) -> Floats:
        decoded, constraints, size = self._predictions[image].boxes, self._constraints[image], self._sizes[image]
        fitted = decoded if ratio is None else _fitted(decoded, ratio, size)
        if ratio is None and not constraints.any:
            return fitted
        uncut = fitted[:0] if ratio is None else constraints.uncut_in_shape(fitted, ratio)
        return np.concatenate([fitted, constraints.candidates(decoded, ratio), uncut])

    def scores(self, boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N_b] of boxes [N_b, 4] of image b, on the scale of ``Prediction``."""
        return self._predictor.values(self._encoded, self._predictions, boxes)

    def _values(self, boxes: Sequence[Floats]) -> list[Floats]:
        scores = self.scores(boxes)
        return [
            constraints.penalise(*of_image)
            for constraints, *of_image in zip(self._constraints, boxes, scores, strict=True)
        ]


def _sorted(boxes: Floats, scores: Floats, values: Floats) -> Ranked:
    order = np.argsort(-values, kind="stable")
    return Ranked(boxes[order], scores[order], values[order])


def _largest(ratio: float, size: tuple[int, int]) -> Floats:
    boxes = np.array(list(windows(ratio, size)), np.float32)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    widest: Floats = boxes[areas > areas.max() - 1e-4]
    return widest


def _fitted(decoded: Floats, ratio: float, size: tuple[int, int]) -> Floats:
    fitted = [to_norm(c, *size) for box in decoded for c in _at_aspect(box, ratio, size)]
    return np.array(fitted, np.float32)


def _at_aspect(box: Floats, ratio: float, size: tuple[int, int]) -> Iterator[tuple[float, ...]]:
    """Boxes in pixels of an aspect near a decoded box: one of its area, and the largest inside it, centred and at both ends."""
    width, height = size
    px = (box * np.array([width, height, width, height])).astype(float).tolist()
    yield snap_aspect(px, ratio, width, height)
    inner_width = min(px[2] - px[0], (px[3] - px[1]) * ratio)
    inner_height = inner_width / ratio
    for across, down in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0)):
        x1 = px[0] + (px[2] - px[0] - inner_width) * across
        y1 = px[1] + (px[3] - px[1] - inner_height) * down
        yield (x1, y1, x1 + inner_width, y1 + inner_height)
