"""Training canvases of the small out-painter: random crops of photographs, of which a rectangle stays visible."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from pipeline.core.seeds import seed_for
from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.diffusion.framing import Framed, bucket_of, framed
from stages.backends.outpainters.small_diffusion.painting import known_of, sizes_at
from stages.canvases.placement import PlacementSettings, place
from stages.training.scorer.photo_folder import Photograph

PLACEMENT = PlacementSettings()
LEAST_CROP = 0.6  # of the largest window of the canvas's aspect ratio: smaller ones would show enlarged pixels
# Canvases are cut at this multiple of the model's size and then reduced, as they are when it paints.
ENLARGED = 3


@dataclass(frozen=True)
class CanvasBatch:
    """B canvases of one size.

    Args:
        truth: [B, 3, H, W] in -1..1.
        known: [B, 3, H, W] in -1..1, the visible rectangle with its edge pixels repeated outward.
        mask: [B, 1, H, W], 1 on the visible rectangle.
    """

    truth: Tensor
    known: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "CanvasBatch":
        """The same on a device."""
        return CanvasBatch(self.truth.to(device), self.known.to(device), self.mask.to(device))


class CanvasBatches:
    """Batches of canvases, each fixed by seed and number alone, so that training can resume at any step.

    Args:
        photographs: to cut canvases from.
        size: of the model, pixels.
        batch: canvases of a batch.
        seed: of the training.
        purpose: a word that separates the random numbers of training from those of validation.
    """

    def __init__(self, photographs: Sequence[Photograph], *, size: int, batch: int, seed: int, purpose: str) -> None:
        self._photographs, self._size, self._batch = photographs, size, batch
        self._seed, self._purpose = seed, f"outpainter {purpose}"

    def batch(self, number: int) -> CanvasBatch:
        """Canvases of one shape, which is drawn as the outpaint stage draws it."""
        aspect = self._rng("shape", number).choice(PLACEMENT.aspects)
        pairs = [self._canvas(aspect, number, row) for row in range(self._batch)]
        truth = np.stack([pixels for pixels, _ in pairs]).astype(np.float32) / 127.5 - 1
        known, mask = known_of([frame for _, frame in pairs])
        return CanvasBatch(torch.where(mask > 0, known, torch.from_numpy(truth).permute(0, 3, 1, 2)), known, mask)

    def _canvas(self, aspect: float, number: int, row: int) -> tuple[Image, Framed]:
        """A window of a photograph as the whole canvas, uint8 [H, W, 3] at the model's size, and its visible part."""
        rng = self._rng(f"canvas {row}", number)
        pixels = rng.choice(self._photographs).pixels
        shape = (pixels.shape[1], pixels.shape[0])
        drawn = place(
            shape, ENLARGED * self._size, PLACEMENT.model_copy(update={"aspects": (aspect,)}), rng.getrandbits(63)
        )
        whole = Pillow.fromarray(pixels).resize(
            drawn.size, Pillow.Resampling.LANCZOS, box=_window(shape, drawn.size, rng)
        )
        if rng.random() < 0.5:
            whole = whole.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
        x1, y1, x2, y2 = drawn.box_px
        request = PaintRequest(np.asarray(whole)[y1:y2, x1:x2], None, drawn.box_px, drawn.size, 0)
        size = bucket_of(drawn.size, sizes_at(self._size))
        return np.asarray(whole.resize(size, Pillow.Resampling.LANCZOS)), framed(request, size, 0)

    def _rng(self, purpose: str, number: int) -> random.Random:
        return random.Random(seed_for(self._seed, self._purpose, purpose, number))


def _window(shape: tuple[int, int], canvas: tuple[int, int], rng: random.Random) -> tuple[float, float, float, float]:
    """A window (x1, y1, x2, y2) of the canvas's aspect in a photograph of ``shape``, 0.6 to 1 times the largest."""
    scale = min(shape[0] / canvas[0], shape[1] / canvas[1]) * rng.uniform(LEAST_CROP, 1)
    width, height = canvas[0] * scale, canvas[1] * scale
    x, y = rng.uniform(0, shape[0] - width), rng.uniform(0, shape[1] - height)
    return x, y, min(x + width, shape[0]), min(y + height, shape[1])
