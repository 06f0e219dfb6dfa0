"""Cases with a known answer: whole held-out photographs whose border is hidden, to be painted again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.outpaint_card import photographs, shrunk
from pipeline.core.geometry import BoxPx
from pipeline.core.seeds import fraction_of, seed_for
from stages.backends.base.protocols import Image, PaintRequest, Segmenter

AREA = (0.25, 0.6)
TOUCHING = 0.25


@dataclass(frozen=True)
class Case:
    """One photograph with one rectangle of it left visible.

    truth: uint8 [H, W, 3], the whole photograph. requests: one a seed, all with the same visible part.
    """

    photo: str
    truth: Image
    requests: tuple[PaintRequest, ...]

    @property
    def hidden(self) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
        """Where the paint goes, [H, W]."""
        mask = np.ones(self.truth.shape[:2], bool)
        x1, y1, x2, y2 = self.requests[0].box_px
        mask[y1:y2, x1:x2] = False
        return mask


def cases(splits: Sequence[str], *, side: int, layouts: int, seeds: int, segmenter: Segmenter) -> list[Case]:
    """``layouts`` cases for each bundled photograph of the splits: the middle first, then rectangles drawn by hash.

    The subject mask is made from the visible part alone: a peek at the whole would tell what is hidden.
    """
    found = []
    for path in sorted(path for split in splits for path in photographs(split)):
        truth = shrunk(path, side)
        for number in range(layouts):
            box = visible(truth.shape[1], truth.shape[0], f"{path.stem} {number}", middle=number == 0)
            part = np.ascontiguousarray(truth[box[1] : box[3], box[0] : box[2]])
            subject = segmenter.segment([part])[0]
            size = (truth.shape[1], truth.shape[0])
            drawn = [seed_for(0, "bench outpaint", f"{path.stem} {number}", seed) for seed in range(seeds)]
            found.append(Case(path.stem, truth, tuple(PaintRequest(part, subject, box, size, s) for s in drawn)))
    return found


def visible(width: int, height: int, key: str, *, middle: bool) -> BoxPx:
    """The part left visible: the middle, or a rectangle of ``AREA``, about the photo's shape, at a place fixed by key."""
    if middle:
        return (int(0.2 * width), int(0.2 * height), int(0.82 * width), int(0.8 * height))
    low, high = AREA
    share = (low + (high - low) * fraction_of(0, "bench area", key)) ** 0.5
    stretch = 1.15 ** (2 * fraction_of(0, "bench stretch", key) - 1)
    w, h = round(share * stretch * width), round(share / stretch * height)
    x = round(fraction_of(0, "bench x", key) * (width - w))
    y = round(fraction_of(0, "bench y", key) * (height - h))
    if fraction_of(0, "bench touching", key) < TOUCHING:
        x = 0 if x < (width - w) / 2 else width - w
    return (x, y, x + w, y + h)
