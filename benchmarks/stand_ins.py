"""Cheap stand-ins for the models, for benchmarks of the machine: deterministic, picklable, a digest each; no product code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.records import MASK_SIDE
from stages.backends.base.picture import LazyPicture
from stages.backends.base.protocols import Encoded, Floats, PaintRequest, Prompts
from stages.backends.base.protocols import Image as Pixels
from stages.backends.registry import Models


@dataclass
class EdgeOutpainter:
    """Edge pixels stretched outward, with a little seeded noise so that variants differ."""

    name: str = "edge"
    licence: str = "MIT"
    digest: str = "edge0001"

    def paint(self, requests: Sequence[PaintRequest]) -> list[Pixels]:
        """One canvas a request."""
        return [self._one(request) for request in requests]

    def _one(self, request: PaintRequest) -> Pixels:
        width, height = request.size
        x1, y1, x2, y2 = request.box_px
        canvas = np.pad(request.photo, ((y1, height - y2), (x1, width - x2), (0, 0)), mode="edge")
        noise = np.random.default_rng(request.seed).integers(0, 16, (height, width, 1), dtype=np.uint8)
        return np.where(canvas < 240, canvas + noise, canvas)


@dataclass
class MiddleSegmenter:
    """The subject is the middle of every picture."""

    name: str = "middle"
    licence: str = "MIT"
    digest: str = "middle01"

    def segment(self, images: Sequence[Pixels]) -> list[Floats]:
        """A mask an image."""
        return [self._one(*image.shape[:2]) for image in images]

    def network_masks(self, images: Sequence[Pixels]) -> list[Floats]:
        """The same masks, small."""
        return [self._one(MASK_SIDE, MASK_SIDE) for _ in images]

    def _one(self, h: int, w: int) -> Floats:
        mask = np.zeros((h, w), np.float32)
        mask[h * 2 // 5 : h * 3 // 5, w * 2 // 5 : w * 3 // 5] = 1
        return mask


@dataclass
class SizeScorer:
    """Prefers boxes near the middle and near two thirds of the picture's area."""

    name: str = "size"
    licence: str = "MIT"
    digest: str = "size0001"

    def score(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores of the boxes [N, 4] of each picture."""
        return [self._one(*one.size, np.asarray(found, np.float32)) for one, found in zip(pictures, boxes, strict=True)]

    def _one(self, w: int, h: int, box: Floats) -> Floats:
        share = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / (w * h)
        off = np.abs((box[:, 0] + box[:, 2]) / 2 / w - 0.5) + np.abs((box[:, 1] + box[:, 3]) / 2 / h - 0.5)
        return (10 - 6 * np.abs(share - 0.66) - 4 * off).astype(np.float32)


@dataclass
class ColourEncoder:
    """Colours of a 4 x 4 reduction of the picture."""

    name: str = "colour"
    licence: str = "MIT"
    digest: str = "colour01"

    def encode(self, images: Sequence[Pixels]) -> list[Encoded]:
        """Features, one an image: vector [48], tokens [16, 3]."""
        return [self._one(image) for image in images]

    def _one(self, image: Pixels) -> Encoded:
        small = np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BOX), np.float32) / 255
        vector = small.ravel() - small.mean()
        return Encoded(vector / max(float(np.linalg.norm(vector)), 1e-6), small.reshape(16, 3), (4, 4))


@dataclass
class SilentCaptioner:
    """The same prompts for every photo."""

    name: str = "silent"
    licence: str = "MIT"
    digest: str = "silent01"

    def caption(self, images: Sequence[Pixels], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image."""
        return [Prompts("a photograph", "its surroundings", "frame, border") for _ in images]


def stand_ins() -> Models:
    """One of each."""
    return Models(SilentCaptioner(), EdgeOutpainter(), MiddleSegmenter(), SizeScorer(), ColourEncoder())


def make_photos(folder: Path, count: int, size: tuple[int, int] = (96, 72)) -> Path:
    """``count`` small JPEG files of smooth seeded texture, each different, a thousand a folder; those that are there stay."""
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=85)
    return folder
