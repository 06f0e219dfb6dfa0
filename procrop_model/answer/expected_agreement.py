"""The box of best expected agreement: what to answer when scored boxes are samples of an opinion.

A detector's top score is not the box of the best expected IoU. Here typical crops count by exp(RoI logit), which is what training
fits (``listwise_loss``), and decoded boxes by their score; the answer is the box whose mean IoU with all of them is highest, as
in minimum Bayes risk decoding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procrop_model.network.config import AnswerConfig

Floats = NDArray[np.float32]
STEPS = (0.08, 0.04, 0.02, 0.01)  # by which a side moves, as shares of the image; from coarse to fine
MOVES = 4  # of all boxes at most, a step size
_AXES = np.concatenate([np.eye(4), -np.eye(4)])  # [8, 4]


@dataclass(frozen=True)
class Opinion:
    """Weighted samples of where the best crop of one image lies.

    Args:
        boxes: [S, 4] xyxy in 0..1.
        weights: [S], summing to 1.
    """

    boxes: Floats
    weights: Floats

    @property
    def mean(self) -> Floats:
        """The mean box [4]."""
        return np.asarray((self.boxes * self.weights[:, None]).sum(0), np.float32)

    def expected_iou(self, boxes: NDArray[np.floating]) -> Floats:
        """Mean IoU [N] of boxes [N, 4] with the samples, by weight."""
        ious = pairwise_ious(np.asarray(boxes, np.float64), np.asarray(self.boxes, np.float64))
        return np.asarray(ious @ self.weights, np.float32)


def opinion_of(
    decoded: Floats, decoded_logits: Floats, typical: Floats, typical_logits: Floats, config: AnswerConfig
) -> Opinion:
    """The opinion of one image.

    Args:
        decoded: the decoder's boxes [Q, 4] xyxy in 0..1.
        decoded_logits: their RoI logits [Q, 1 or 2].
        typical: typical crops [P, 4].
        typical_logits: their RoI logits [P, 1 or 2].
        config: how much each counts.
    """
    scores = 1 / (1 + np.exp(-np.asarray(decoded_logits[:, 0], np.float64)))
    own = _softmax(config.sharpness * scores) * config.decoded
    others = _softmax(log_weights(typical_logits, config)) * (1 - config.decoded)
    weights = np.concatenate([own, others]).astype(np.float32)
    return Opinion(np.concatenate([decoded, typical]).astype(np.float32), weights)


def log_weights(logits: Floats, config: AnswerConfig) -> NDArray[np.float64]:
    """Log-weights [N] of boxes with RoI logits [N, 1 or 2]."""
    values: NDArray[np.float64] = (
        np.asarray(logits, np.float64) @ np.array([config.fit, config.composition])[: logits.shape[1]]
    )
    return values


def best_agreement(opinion: Opinion, starts: Floats) -> tuple[Floats, Floats]:
    """Boxes [N, 4] of locally best expected IoU and their expected IoU [N]; coordinate ascent from ``starts`` [N, 4]."""
    boxes = np.asarray(starts, np.float64)
    values = opinion.expected_iou(boxes)
    for step in STEPS:
        for _ in range(MOVES):
            moved = np.clip(boxes[:, None] + step * _AXES, 0, 1)  # [N, 8, 4]
            found = opinion.expected_iou(moved.reshape(-1, 4)).reshape(moved.shape[:2])
            rows, chosen = np.arange(len(boxes)), found.argmax(1)
            better = found[rows, chosen] > values
            if not better.any():
                break
            boxes = np.where(better[:, None], moved[rows, chosen], boxes)
            values = np.where(better, found[rows, chosen], values)
    return boxes.astype(np.float32), values


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.exp(values - values.max())
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def pairwise_ious(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU [N, M] of boxes [N, 4] with others [M, 4], xyxy; 0 for a box without area.

    Side by side: operations along a last axis of 2 or 4 numbers take ten times as long.
    """
    left, top, right, bottom = np.ascontiguousarray(boxes.T)[:, :, None]  # [N, 1] each
    lefts, tops, rights, bottoms = np.ascontiguousarray(others.T)[:, None]  # [1, M] each
    shared = np.maximum(np.minimum(right, rights) - np.maximum(left, lefts), 0)  # [N, M]
    shared *= np.maximum(np.minimum(bottom, bottoms) - np.maximum(top, tops), 0)
    union = _areas(left, top, right, bottom) + _areas(lefts, tops, rights, bottoms) - shared
    ious: NDArray[np.float64] = shared / np.maximum(union, 1e-9)
    return ious


def _areas(
    left: NDArray[np.float64], top: NDArray[np.float64], right: NDArray[np.float64], bottom: NDArray[np.float64]
) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    return areas
