"""Scoring boxes with the cropper: RoIAlign over one pass of the picture, beside a pass of the network for each crop.

Part of ``bench crops-scoring``. The same shipped cropper on both sides; passes go through in batches. A crop that is shown
alone has lost its surroundings, which the RoI head was taught to look at, so the two do not measure quite the same: the
rank agreement says how far they order the crops of a picture alike.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.harness import OURS, alternate, result
from pipeline.core.resources import bundled
from procrop_model import Cropper

PASSES, BATCH = "one pass a crop", 15
Pixels, Boxes = NDArray[np.uint8], NDArray[np.float32]


def roi_against_passes(count: int, side: int, *, pictures: int = 4, rounds: int = 3) -> dict[str, object]:
    """Boxes a second of both, their ratio, and Spearman's correlation of their scores, averaged over pictures."""
    torch.set_num_threads(1)
    cropper = Cropper.load(bundled("assets") / "models" / "cropper", precision="fp32")
    photos = _photos(pictures, side)
    boxes = _boxes(count, side)
    scores: dict[str, list[Boxes]] = {}

    def timed(name: str) -> float:
        began = time.process_time()
        scores[name] = [_by_roi(cropper, p, boxes) if name == OURS else _by_passes(cropper, p, boxes) for p in photos]
        return count * len(photos) / (time.process_time() - began)

    figures = alternate({name: lambda name=name: timed(name) for name in (OURS, PASSES)}, rounds, warm_up=0)
    agreement = [float(spearmanr(a, b).statistic) for a, b in zip(scores[OURS], scores[PASSES], strict=True)]
    measured = result("", "boxes/CPU s", figures, higher_is_better=True, env={})
    kept = {key: measured[key] for key in ("unit", OURS, "peers", "ratio", "spread")}
    return {**kept, "rank_agreement": round(float(np.mean(agreement)), 3), "of_each": [round(x, 3) for x in agreement]}


def _by_roi(cropper: Cropper, picture: Pixels, boxes: Boxes) -> Boxes:
    return cropper.score_boxes([picture], [boxes])[0]


def _by_passes(cropper: Cropper, picture: Pixels, boxes: Boxes) -> Boxes:
    crops = [np.ascontiguousarray(picture[y1:y2, x1:x2]) for x1, y1, x2, y2 in boxes.astype(int)]
    whole = [np.array([[0, 0, crop.shape[1], crop.shape[0]]], np.float32) for crop in crops]
    starts = range(0, len(crops), BATCH)
    found = [cropper.score_boxes(crops[i : i + BATCH], whole[i : i + BATCH]) for i in starts]
    return np.concatenate([scores for batch in found for scores in batch])


def _photos(count: int, side: int) -> list[Pixels]:
    """Bundled photographs, 4:3."""
    found: list[Pixels] = []
    for path in sorted((bundled("assets") / "photos").glob("*.jpg"))[:count]:
        with Image.open(path) as photo:
            found.append(np.asarray(photo.convert("RGB").resize((side, side * 3 // 4))))
    return found


def _boxes(count: int, side: int, seed: int = 0) -> Boxes:
    """Whole pixels; sides from 0.4 to 0.9 of the picture's."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.4, 0.9, (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * (1 - share)
    scale: Sequence[int] = [side, side * 3 // 4] * 2
    return np.floor(np.concatenate([start, start + share], 1) * scale).astype(np.float32)
