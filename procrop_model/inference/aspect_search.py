"""Boxes of a wanted shape, best first: the decoded ones brought to it, judged anew, and moved without losing it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.geometry import snap_aspect, to_norm
from procrop_model.inference.limit_scoring import WHOLE, Rules, windows
from procrop_model.inference.local_search import climb
from procrop_model.inference.predictor import CLIMBERS, Floats, Looked, Predictor


@dataclass(frozen=True)
class Ranked:
    """Boxes [N, 4] xyxy in 0..1 of one picture, best first; scores [N] of the network in 0..1; values [N]: the same, but
    below -1 for a box that does not keep the limits.
    """

    boxes: Floats
    scores: Floats
    values: Floats


class ShapeSearch:
    """The search in pictures that the network has looked at."""

    def __init__(
        self, predictor: Predictor, looked: Looked, sizes: Sequence[tuple[int, int]], rules: Sequence[Rules]
    ) -> None:
        """sizes: (width, height) of each picture; rules: its limits."""
        self._predictor, self._looked = predictor, looked
        self._sizes, self._rules = sizes, rules
        self._predictions = predictor.propose(looked)

    def ranked(self, ratio: float | None) -> list[Ranked]:
        """Boxes of an aspect, or of any when None, of each picture."""
        limited = any(rules.any for rules in self._rules)
        if ratio is None and not limited:
            return [Ranked(p.boxes, p.scores, p.scores) for p in self._predictions]
        offered = [self._offered(image, ratio) for image in range(len(self._rules))]
        for rules, boxes in zip(self._rules, offered, strict=True):
            rules.relax(boxes)
        judged = self._judge(offered)
        leading = [
            boxes[np.argsort(-values, kind="stable")[:CLIMBERS]] for boxes, values in zip(offered, judged, strict=True)
        ]
        moved, values = climb(leading, self._judge, keep_shape=ratio is not None)
        scores = self._predictor.score(self._looked, moved) if limited else values
        return [_sorted(*found) for found in zip(moved, scores, values, strict=True)]

    def largest(self, ratio: float | None) -> list[Ranked]:
        """The largest boxes of an aspect, or the whole picture when None, of each picture."""
        boxes = [WHOLE if ratio is None else _largest(ratio, size) for size in self._sizes]
        scores = self._predictor.score(self._looked, boxes)
        values = [rules.judge(*found) for rules, *found in zip(self._rules, boxes, scores, strict=True)]
        return [_sorted(*found) for found in zip(boxes, scores, values, strict=True)]

    def _offered(self, image: int, ratio: float | None) -> Floats:
        decoded, rules, size = self._predictions[image].boxes, self._rules[image], self._sizes[image]
        offered = decoded if ratio is None else _fitted(decoded, ratio, size)
        return np.concatenate([offered, rules.candidates(decoded, ratio)]) if rules.any else offered

    def _judge(self, boxes: Sequence[Floats]) -> list[Floats]:
        scores = self._predictor.score(self._looked, boxes)
        return [rules.judge(*found) for rules, *found in zip(self._rules, boxes, scores, strict=True)]


def _sorted(boxes: Floats, scores: Floats, values: Floats) -> Ranked:
    order = np.argsort(-values, kind="stable")
    return Ranked(boxes[order], scores[order], values[order])


def _largest(ratio: float, size: tuple[int, int]) -> Floats:
    found = np.array(list(windows(ratio, size)), np.float32)
    areas = (found[:, 2:] - found[:, :2]).prod(1)
    widest: Floats = found[areas > areas.max() - 1e-4]
    return widest


def _fitted(decoded: Floats, ratio: float, size: tuple[int, int]) -> Floats:
    fitted = [to_norm(c, *size) for box in decoded for c in _at_aspect(box, ratio, size)]
    return np.array(fitted, np.float32)


def _at_aspect(box: Floats, ratio: float, size: tuple[int, int]) -> Iterator[tuple[float, ...]]:
    """Boxes of an aspect near a decoded one, in pixels: of its area, and the largest inside it."""
    width, height = size
    px = (box * np.array([width, height, width, height])).astype(float).tolist()
    yield snap_aspect(px, ratio, width, height)
    inner_width = min(px[2] - px[0], (px[3] - px[1]) * ratio)
    inner_height = inner_width / ratio
    for across, down in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0)):
        x1 = px[0] + (px[2] - px[0] - inner_width) * across
        y1 = px[1] + (px[3] - px[1] - inner_height) * down
        yield (x1, y1, x1 + inner_width, y1 + inner_height)
