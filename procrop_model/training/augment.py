"""Augmentations that move the picture and its crops together, and degrade painted and photographed pixels alike.

The degradations (scale, blur, noise, JPEG) run over the whole canvas, so that they blur the trace of where painting
starts.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities, in 0..1, and strengths of augmentations.

    Args:
        fill: least and greatest share of a view that the pseudo-label fills, drawn evenly; a canvas with too little room around
            the pseudo-label gives a fuller view.
        kept: probabilities that a view has a margin at a side: left and right, top and bottom. At the other sides the
            pseudo-label ends with the view.
        whole: probability of a view that is the pseudo-label alone, so that the network leaves well framed images uncropped.
        mirror: probability of a horizontal flip.
        colour: greatest relative change of brightness, contrast and saturation.
        grey: probability of greyscale.
        degrade: probability of each of downscaling, blur, noise and JPEG.
        annotated_trim: probability of cutting margins off an image that people annotated: its margins are photographed, and
            crops were scored in view of them.
    """

    fill: tuple[float, float] = (0.4, 0.95)
    kept: tuple[float, float] = (0.6, 0.75)
    whole: float = 0.05
    mirror: float = 0.5
    colour: float = 0.3
    grey: float = 0.1
    degrade: float = 0.5
    annotated_trim: float = 0.3


@dataclass(frozen=True)
class Annotated:
    """A picture uint8 [H, W, 3] with crops float [N, 4] xyxy in its pixels, the pseudo-label first, and their scores
    [N].
    """

    image: Pixels
    crops: Boxes
    scores: Boxes


def augment(sample: Annotated, config: AugmentConfig, rng: np.random.Generator, *, judged: bool = False) -> Annotated:
    """A random variation; every draw comes from ``rng``. The pseudo-label always stays whole and first.

    judged: whether people scored the crops.
    """
    if not judged:
        sample = trim(sample, margins_cut(sample, config, rng))
    elif rng.random() < config.annotated_trim:
        sample = trim(sample, rng.random(4) ** 1.5 * (rng.random(4) < 0.7))
    if rng.random() < config.mirror:
        sample = mirror(sample)
    image = recolour(Image.fromarray(sample.image), config, rng)
    return Annotated(degrade_image(image, config, rng), sample.crops, sample.scores)


def margins_cut(sample: Annotated, config: AugmentConfig, rng: np.random.Generator) -> Shares:
    """Shares [4] in 0..1 of the room at the left, top, right and bottom of the pseudo-label that a view leaves out.

    Margins are in random proportion to one another, and as wide as the drawn share of the view wants, where there is room.
    """
    fill = 1.0 if rng.random() < config.whole else rng.uniform(*config.fill)
    chances = np.tile(config.kept, 2)  # left, top, right, bottom
    proportions = rng.exponential(size=4) * (rng.random(4) < chances)
    room = _room(sample)
    width, height = sample.crops[0, 2:] - sample.crops[0, :2]
    margins = proportions * np.tile([width, height], 2)
    low, high = 0.0, 64.0
    for _ in range(30):  # the area grows with the factor
        middle = (low + high) / 2
        left, top, right, bottom = np.minimum(middle * margins, room)
        full = (width + left + right) * (height + top + bottom) * fill >= width * height
        low, high = (low, middle) if full else (middle, high)
    kept = np.minimum(high * margins, room)
    return np.where(room > 0, 1 - kept / np.maximum(room, 1e-6), 0.0)


def trim(sample: Annotated, shares: Shares) -> Annotated:
    """Cuts margins off, keeping the pseudo-label.

    shares: [4] in 0..1 of the room at the left, top, right and bottom of the pseudo-label.
    Crops that lose more than a twentieth of their area are dropped, the others are cut to what is left.
    """
    height, width = sample.image.shape[:2]
    room = _room(sample)
    cut = np.minimum(np.round(shares * room), np.floor(room)).astype(int)
    left, top, right, bottom = cut[0], cut[1], width - cut[2], height - cut[3]
    low, high = np.array([left, top], np.float32), np.array([right, bottom], np.float32)
    moved = np.clip(sample.crops, np.tile(low, 2), np.tile(high, 2)) - np.tile(low, 2)
    kept = _areas(moved) >= 0.95 * _areas(sample.crops)
    kept[0] = True
    return Annotated(sample.image[top:bottom, left:right], moved[kept], sample.scores[kept])


def mirror(sample: Annotated) -> Annotated:
    """Left and right exchanged."""
    width = sample.image.shape[1]
    crops = sample.crops.copy()
    crops[:, 0], crops[:, 2] = width - sample.crops[:, 2], width - sample.crops[:, 0]
    return Annotated(np.ascontiguousarray(sample.image[:, ::-1]), crops, sample.scores)


def recolour(image: Image.Image, config: AugmentConfig, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation within 1 +- ``colour``, now and then grey."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(1 + config.colour * rng.uniform(-1, 1))
    return image.convert("L").convert("RGB") if rng.random() < config.grey else image


def degrade_image(image: Image.Image, config: AugmentConfig, rng: np.random.Generator) -> Pixels:
    """Downscaling, blur, noise and JPEG, each with probability ``config.degrade``, over the whole image."""
    if rng.random() < config.degrade:
        size, scale = image.size, rng.uniform(0.5, 1.0)
        small = (max(8, round(size[0] * scale)), max(8, round(size[1] * scale)))
        image = image.resize(small, Image.Resampling.BILINEAR).resize(size, Image.Resampling.BILINEAR)
    if rng.random() < config.degrade:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    pixels = np.asarray(image)
    if rng.random() < config.degrade:
        noise = rng.normal(0, rng.uniform(1, 8), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if rng.random() < config.degrade:
        pixels = jpeg(pixels, int(rng.integers(35, 95)))
    return np.array(pixels)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Through JPEG and back."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _room(sample: Annotated) -> Shares:
    """Pixels [4] at the left, top, right and bottom of the pseudo-label."""
    height, width = sample.image.shape[:2]
    x1, y1, x2, y2 = sample.crops[0]
    return np.maximum(np.array([x1, y1, width - x2, height - y2], np.float64), 0)


def _areas(boxes: Boxes) -> Boxes:
    sides: Boxes = np.maximum(boxes[:, 2:] - boxes[:, :2], np.float32(0))
    areas: Boxes = sides[:, 0] * sides[:, 1]
    return areas
