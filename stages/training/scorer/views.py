"""Views of a training picture: mirrored, and degraded as a whole, so that neither side nor seam is a cue."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter
from torch import Tensor

from pipeline.core.seeds import seed_for
from stages.backends.base.picture import mask_grid, soft_mask
from stages.backends.base.protocols import Floats, Image, Segmenter
from stages.backends.scorers.composition_features import feature_maps, load_encoder_levels
from stages.training.scorer.pairs import Example


@dataclass(frozen=True)
class ExampleView:
    """A view of an example with the outputs of the frozen models.

    Args:
        example: mirrored or not.
        maps: of the encoder, [C, h, w] each.
        mask: of the subject, [MASK_SIDE, MASK_SIDE] in 0..1.
    """

    example: Example
    maps: list[Tensor]
    mask: Floats

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        height, width = self.example.picture.shape[:2]
        return width, height


def make_views(
    examples: Sequence[Example], segmenter: Segmenter, seed: int, views: int, progress: Callable[[str, int, int], None]
) -> list[ExampleView]:
    """Each example ``views`` times through encoder and segmenter, degraded each time, mirrored every other time."""
    backbone = load_encoder_levels()
    made = []
    for number, example in enumerate(examples):
        for turn in range(views):
            rng = np.random.default_rng(seed_for(seed, "scorer-view", f"{example.photo}/{number}", turn))
            shown = mirrored(example) if (number + turn) % 2 else example
            picture = degraded(shown.picture, rng)
            mask = mask_grid(segmenter.network_masks([picture])[0])  # as the stage perceive keeps it
            made.append(ExampleView(shown, feature_maps(backbone, picture), soft_mask(mask)))
        progress("look", number + 1, len(examples))
    return made


def with_long_side(picture: Image, long_side: int) -> Image:
    """The picture with its long side at most ``long_side``."""
    copy = Pillow.fromarray(picture)
    copy.thumbnail((long_side, long_side), Pillow.Resampling.LANCZOS)
    return np.asarray(copy)


def mirrored(example: Example) -> Example:
    """The same crops of the picture seen in a mirror."""
    boxes = example.boxes.copy()
    boxes[:, [0, 2]] = 1 - example.boxes[:, [2, 0]]
    return Example(example.photo, np.ascontiguousarray(example.picture[:, ::-1]), boxes, example.pairs)


def degraded(picture: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """The whole picture resized down and up, blurred, given noise and re-encoded.

    Args:
        picture: uint8 [H, W, 3].
        rng: of all strengths.
        strength: 0 leaves the picture as it is, 1 is that of training, 2 that of the stress test.
    """
    if strength == 0:
        return picture
    height, width = picture.shape[:2]
    scale = 1 - rng.uniform(0.0, 0.4) * min(strength, 1.5)
    image = Pillow.fromarray(picture).resize((max(8, round(width * scale)), max(8, round(height * scale))))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 1.2) * strength)).resize((width, height))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 5) * strength, (height, width, 1))
    stream = io.BytesIO()
    quality = max(10, round(rng.uniform(90 - 50 * strength, 95)))
    Pillow.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    with Pillow.open(stream) as encoded:
        return np.asarray(encoded.convert("RGB"))
