"""Inference with the small model: requests are grouped by shape, painted at the model's size and enlarged to their canvases."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from stages.backends.base.devices import in_batches, pick_device
from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.diffusion.framing import Framed, bucket_of, buckets, framed
from stages.backends.outpainters.small_diffusion.network import MULTIPLE
from stages.backends.outpainters.small_diffusion.pipeline import load_small_pipeline
from stages.canvases.placement import PlacementSettings

ASPECTS = PlacementSettings().aspects


def sizes_at(size: int) -> list[tuple[int, int]]:
    """(width, height) that a model of ``size`` paints at: about ``size`` squared pixels, one an aspect ratio of canvases."""
    return buckets(size, MULTIPLE, ASPECTS)


def known_of(frames: Sequence[Framed]) -> tuple[Tensor, Tensor]:
    """Conditions of the network: photos with edge pixels repeated outward [B, 3, H, W] in -1..1, and 1 on them [B, 1, H, W]."""
    known = np.stack([frame.image for frame in frames]).astype(np.float32) / 127.5 - 1
    mask = np.stack([frame.mask == 0 for frame in frames]).astype(np.float32)[:, None]
    return torch.from_numpy(known).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(mask)


class SmallPainter:
    """A loaded model. Raises ModelError when it does not load or its device does not exist.

    Args:
        folder: of the trained model.
        steps: of the scheduler.
        batch: canvases painted together.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, folder: Path, *, steps: int, batch: int, device: str) -> None:
        self._steps, self._batch, self.device = steps, batch, pick_device(device)
        self._pipeline = load_small_pipeline(folder, self.device)
        self._sizes = sizes_at(int(self._pipeline.unet.config["sample_size"]))

    def paint(self, requests: Sequence[PaintRequest]) -> list[Image]:
        """Canvases uint8 [H, W, 3], in order, each with its photo's own pixels inside ``box_px``."""
        return [with_photo(one, canvas) for one, canvas in zip(requests, self.small(requests), strict=True)]

    def small(self, requests: Sequence[PaintRequest]) -> list[Image]:
        """The same at the size that the model paints at, uint8 [h, w, 3]: canvases stretched by a few percent."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[bucket_of(request.size, self._sizes)].append(index)
        out: dict[int, Image] = {}
        for size, indices in sorted(groups.items()):
            jobs = [(framed(requests[index], size, 0), requests[index].seed) for index in indices]
            out.update(zip(indices, in_batches(self._painted, jobs, self._batch), strict=True))
        return [out[index] for index in range(len(requests))]

    def _painted(self, jobs: Sequence[tuple[Framed, int]]) -> list[Image]:
        known, mask = (each.to(self.device) for each in known_of([frame for frame, _ in jobs]))
        generators = [torch.Generator("cpu").manual_seed(seed) for _, seed in jobs]
        canvases = self._pipeline(known, mask, generators, num_inference_steps=self._steps)
        pixels = ((canvases + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)  # [B, H, W, 3]
        return list(pixels.cpu().numpy())


def with_photo(request: PaintRequest, small: Image) -> Image:
    """A small canvas enlarged to the request's size, the photo's own pixels on it."""
    out = np.array(Pillow.fromarray(small).resize(request.size, Pillow.Resampling.BICUBIC))
    x1, y1, x2, y2 = request.box_px
    out[y1:y2, x1:x2] = request.photo
    return out
