"""Local search of crops under the RoI score: each box moves to its best-scored neighbour, a few times.

Ours: the decoder proposes, the head that sees inside and around a box corrects. Measured on held-out canvases it adds
more to the IoU than anything else after training; it costs no backbone pass.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Score = Callable[[Sequence[Floats]], list[Floats]]
STEPS = (0.12, 0.06, 0.12, 0.06)  # shares of the box's own size; chosen on the val split


def climb(boxes: Sequence[Floats], score: Score, *, keep_shape: bool = False) -> tuple[list[Floats], list[Floats]]:
    """Better boxes and their scores, one array [N, 4] and [N] an image, in the order given.

    boxes: [N, 4] an image, xyxy in 0..1. score: boxes -> scores, for all images at once. keep_shape: move and scale
    only, so that an aspect ratio stays; else single sides move too. A box never gets a lower score.
    """
    best = [np.asarray(rows, np.float32) for rows in boxes]
    reached = score(best)
    for step in STEPS:
        around = [np.stack([neighbours(box, step, keep_shape) for box in rows]) for rows in best]  # [N, M, 4] an image
        judged = score([tried.reshape(-1, 4) for tried in around])
        for image, tried in enumerate(around):
            scores = judged[image].reshape(tried.shape[:2])  # [N, M]
            chosen, rows = scores.argmax(1), np.arange(len(tried))
            better = scores[rows, chosen] > reached[image]
            best[image] = np.where(better[:, None], tried[rows, chosen], best[image])
            reached[image] = np.where(better, scores[rows, chosen], reached[image])
    return best, reached


def neighbours(box: Floats, step: float, keep_shape: bool) -> Floats:
    """Boxes [M, 4] around one: shifted, scaled and, unless the shape is kept, with single sides moved; all inside the
    image.

    With ``keep_shape`` a neighbour that does not fit is replaced by the box itself.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    unit = np.array([width, height, width, height], np.float32) * np.float32(step)
    tried = box + unit * (_SHAPED if keep_shape else _ALL)
    if keep_shape:
        outside = np.logical_or(tried < 0, tried > 1).any(1, keepdims=True)
        return np.where(outside, box, tried).astype(np.float32)
    return np.clip(tried, 0, 1).astype(np.float32)


_SHAPED = np.array(
    [[1, 0, 1, 0], [-1, 0, -1, 0], [0, 1, 0, 1], [0, -1, 0, -1], [-0.5, -0.5, 0.5, 0.5], [0.5, 0.5, -0.5, -0.5]],
    np.float32,
)
_ALL = np.concatenate([_SHAPED, np.eye(4, dtype=np.float32), -np.eye(4, dtype=np.float32)])
