"""From requests to canvases: pixels to tensors, the pipeline, tensors to pixels."""

from collections.abc import Sequence

import numpy as np
import torch

from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.patch_diffusion.pipeline import PatchDiffusionPipeline
from stages.backends.outpainters.patch_diffusion.scene import Scene


class Painter:
    """Paints requests one after another, each with its own generator.

    Args:
        steps: of the scheduler, at each scale.
        device: a torch device.
    """

    def __init__(self, *, steps: int, device: str) -> None:
        self._steps, self._device = steps, device
        self._pipeline = PatchDiffusionPipeline.default()

    def paint(self, requests: Sequence[PaintRequest], coarse: Sequence[Image] | None = None) -> list[Image]:
        """Canvases uint8 [H, W, 3], in order, each with its photo's own pixels inside ``box_px``.

        coarse: small canvases uint8 [h, w, 3] of the same requests by another painter, to start from.
        """
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        scenes = [self._scene(request) for request in requests]
        starts = None if coarse is None else [_tensor(image, self._device) for image in coarse]
        painted = self._pipeline(scenes, generators, num_inference_steps=self._steps, coarse=starts)
        return [_finished(request, canvas) for request, canvas in zip(requests, painted, strict=True)]

    def _scene(self, request: PaintRequest) -> Scene:
        """The request as tensors."""
        photo = _tensor(request.photo, self._device)
        subject = torch.zeros_like(photo[:, :1])
        if request.subject is not None:
            subject = torch.tensor(request.subject, device=self._device, dtype=torch.float32)[None, None]
        return Scene(photo, subject, request.box_px, request.size)


def _tensor(image: Image, device: str) -> torch.Tensor:
    return torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 127.5 - 1  # [1, 3, H, W]


def _finished(request: PaintRequest, painted: torch.Tensor) -> Image:
    """A painted canvas [1, 3, H, W] as uint8 [H, W, 3], with the photo's own pixels."""
    pixels = ((painted[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    out: Image = np.ascontiguousarray(pixels)
    x1, y1, x2, y2 = request.box_px
    out[y1:y2, x1:x2] = request.photo
    return out
