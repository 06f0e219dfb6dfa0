"""Augmentations that move the picture and its crops together, and degrade painted and photographed pixels alike.

The degradations (scale, blur, noise, JPEG) run over the whole canvas, so that they blur the trace of where painting
starts.
"""

import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities, in 0..1, and strengths of augmentations.

    Args:
        trim: probability of cutting margins off.
        tight: probability of cutting a side exactly at the pseudo-label.
        whole: probability of cutting nearly all margins, so that the network leaves well framed images uncropped.
        mirror: probability of a horizontal flip.
        colour: greatest relative change of brightness, contrast and saturation.
        grey: probability of greyscale.
        degrade: probability of each of downscaling, blur, noise and JPEG.
        annotated_trim: ``trim`` for images that people annotated: their margins are photographed, and crops were scored in
            view of them.
    """

    trim: float = 0.7
    tight: float = 0.1
    whole: float = 0.12
    mirror: float = 0.5
    colour: float = 0.3
    grey: float = 0.1
    degrade: float = 0.5
    annotated_trim: float = 0.3

    def for_annotated(self) -> "AugmentConfig":
        """The settings for an image that people annotated."""
        return replace(self, trim=self.annotated_trim, tight=0.0, whole=0.0)


@dataclass(frozen=True)
class Annotated:
    """A picture uint8 [H, W, 3] with crops float [N, 4] xyxy in its pixels, the pseudo-label first, and their scores
    [N].
    """

    image: Pixels
    crops: Boxes
    scores: Boxes


def augment(sample: Annotated, config: AugmentConfig, rng: np.random.Generator) -> Annotated:
    """A random variation; every draw comes from ``rng``. The pseudo-label always stays whole and first."""
    kind = rng.random()
    if kind < config.whole:
        sample = trim(sample, 1 - 0.15 * rng.random(4), rng.random(4) < 0.3)
    elif kind < config.whole + config.trim:
        shares = rng.random(4) ** 1.5 * (rng.random(4) < 0.7)
        sample = trim(sample, shares, rng.random(4) < config.tight)
    if rng.random() < config.mirror:
        sample = mirror(sample)
    image = recolour(Image.fromarray(sample.image), config, rng)
    return Annotated(degrade_image(image, config, rng), sample.crops, sample.scores)


def trim(sample: Annotated, shares: NDArray[np.float64], tight: NDArray[np.bool_]) -> Annotated:
    """Cuts margins off, keeping the pseudo-label.

    shares [4] in 0..1 of the room at the left, top, right and bottom of the pseudo-label; tight [4]: cut all of it.
    Crops that lose more than a twentieth of their area are dropped, the others are cut to what is left.
    """
    height, width = sample.image.shape[:2]
    x1, y1, x2, y2 = sample.crops[0]
    room = np.array([x1, y1, width - x2, height - y2])
    cut = np.floor(np.where(tight, 1.0, shares) * np.maximum(room, 0)).astype(int)
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


def _areas(boxes: Boxes) -> Boxes:
    sides: Boxes = np.maximum(boxes[:, 2:] - boxes[:, :2], np.float32(0))
    areas: Boxes = sides[:, 0] * sides[:, 1]
    return areas
