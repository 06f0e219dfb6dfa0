"""Local search of crops by RoI score: each box moves a few times to its neighbour of highest score.

Ours: the decoder proposes boxes, and the RoI head, which sees the inside and the surroundings of a box, refines them. Measured on
held-out canvases it adds more to the IoU than any other step after training, and it needs no further backbone pass.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Score = Callable[[Sequence[Floats]], list[Floats]]
STEPS = (
    0.12,
    0.06,
    0.12,
    0.06,
)  # as shares of the box's sides; two rounds from coarse to fine, chosen on the val split


def local_search(
    boxes: Sequence[Floats], score: Score, *, keep_shape: bool = False
) -> tuple[list[Floats], list[Floats]]:
    """Improved boxes [N, 4] and their scores [N] of each image, in the order given. No box gets a lower score.

    Args:
        boxes: [N, 4] of each image, xyxy in 0..1.
        score: gives the scores of boxes, for all images in one call.
        keep_shape: only shift and scale boxes, which keeps their aspect ratio; else single sides move too.
    """
    best = [np.asarray(rows, np.float32) for rows in boxes]
    best_scores = score(best)
    for step in STEPS:
        around = [np.stack([neighbours(box, step, keep_shape) for box in rows]) for rows in best]  # [N, M, 4] an image
        neighbour_scores = score([moved.reshape(-1, 4) for moved in around])
        for image, moved in enumerate(around):
            scores = neighbour_scores[image].reshape(moved.shape[:2])  # [N, M]
            chosen, rows = scores.argmax(1), np.arange(len(moved))
            better = scores[rows, chosen] > best_scores[image]
            best[image] = np.where(better[:, None], moved[rows, chosen], best[image])
            best_scores[image] = np.where(better, scores[rows, chosen], best_scores[image])
    return best, best_scores


def neighbours(box: Floats, step: float, keep_shape: bool) -> Floats:
    """Boxes [M, 4] near ``box`` [4]: shifted, scaled and, without ``keep_shape``, with single sides moved by a share ``step`` of
    the box's sides. All lie inside the image; with ``keep_shape`` a neighbour that does not is replaced by the box itself.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    shift = np.array([width, height, width, height], np.float32) * np.float32(step)
    moved = box + shift * (_SHAPED if keep_shape else _ALL)
    if keep_shape:
        outside = np.logical_or(moved < 0, moved > 1).any(1, keepdims=True)
        return np.where(outside, box, moved).astype(np.float32)
    return np.clip(moved, 0, 1).astype(np.float32)


_SHAPED = np.array(
    [[1, 0, 1, 0], [-1, 0, -1, 0], [0, 1, 0, 1], [0, -1, 0, -1], [-0.5, -0.5, 0.5, 0.5], [0.5, 0.5, -0.5, -0.5]],
    np.float32,
)
_ALL = np.concatenate([_SHAPED, np.eye(4, dtype=np.float32), -np.eye(4, dtype=np.float32)])
