"""Placement of a photo on its canvas: sizes and positions drawn from the recipe's distribution, seeded per sample."""

import random
from dataclasses import dataclass

from pydantic import Field

from pipeline.core.geometry import BoxPx
from pipeline.core.settings import Settings


class PlacementSettings(Settings):
    """Distribution of the photo's rectangle. GenCrop has area U(0.1, 0.5), sides to 0.9, uniform position.

    Args:
        area: bounds of the share of the canvas that the photo covers, uniform.
        max_side: largest share of the canvas's width or height that the photo takes.
        edge_share: share of the canvases whose photo touches an edge, so that some sides of a crop need no trim.
        aspects: ratios of the canvas, width over height, drawn with equal chance.
    """

    area: tuple[float, float] = (0.2, 0.6)
    max_side: float = Field(0.9, gt=0, le=1)
    edge_share: float = Field(0.25, ge=0, le=1)
    aspects: tuple[float, ...] = (1.7778, 1.5, 1.3333, 1.0, 0.75, 0.6667)


@dataclass(frozen=True)
class Placement:
    """A canvas and its photo.

    Args:
        size: (width, height) of the canvas in pixels.
        box_px: of the photo on it.
    """

    size: tuple[int, int]
    box_px: BoxPx


def place(photo_size: tuple[int, int], long_side: int, settings: PlacementSettings, seed: int) -> Placement:
    """Draw a canvas for a photo, whose aspect ratio is kept to within a pixel.

    Args:
        photo_size: (width, height) of the photo, in any unit.
        long_side: of the canvas in pixels.
        settings: the distribution.
        seed: of this sample.
    """
    rng = random.Random(seed)
    aspect = rng.choice(settings.aspects)
    width = round(long_side * min(1.0, aspect))
    height = round(long_side * min(1.0, 1 / aspect))
    share = rng.uniform(*settings.area)
    ratio = photo_size[0] / photo_size[1]
    box_width = (share * width * height * ratio) ** 0.5
    shrink = min(1.0, settings.max_side * width / box_width, settings.max_side * height * ratio / box_width)
    w = max(8, round(box_width * shrink))
    h = max(8, round(box_width * shrink / ratio))
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    if rng.random() < settings.edge_share:
        x, y = rng.choice([(0, y), (width - w, y), (x, 0), (x, height - h)])
    return Placement((width, height), (x, y, x + w, y + h))
