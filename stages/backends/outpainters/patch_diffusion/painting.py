"""From requests to canvases: pixels to tensors, the pipeline, tensors to pixels."""

from collections.abc import Sequence

import numpy as np
import torch

from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.patch_diffusion.pipeline import PatchDiffusionPipeline
from stages.backends.outpainters.patch_diffusion.pyramid import resized
from stages.backends.outpainters.patch_diffusion.scene import Scene


class Painter:
    """Paints requests one after another, each with its own generator.

    Args:
        steps: of the scheduler, at each scale.
        max_side: larger canvases are painted with this long side in pixels and enlarged.
        device: a torch device.
    """

    def __init__(self, *, steps: int, max_side: int, device: str) -> None:
        self._steps, self._max_side, self._device = steps, max_side, device
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
        """The request as tensors, at most ``max_side`` pixels long."""
        photo = _tensor(request.photo, self._device)
        subject = torch.zeros_like(photo[:, :1])
        if request.subject is not None:
            subject = torch.tensor(request.subject, device=self._device, dtype=torch.float32)[None, None]
        return shrunk(Scene(photo, subject, request.box_px, request.size), self._max_side)


def _tensor(image: Image, device: str) -> torch.Tensor:
    return torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 127.5 - 1  # [1, 3, H, W]


def shrunk(scene: Scene, max_side: int) -> Scene:
    """The scene with a long side of at most ``max_side`` pixels."""
    scale = max_side / max(scene.size)
    if scale >= 1:
        return scene
    width, height = (max(1, round(n * scale)) for n in scene.size)
    x1, x2 = (round(x * width / scene.size[0]) for x in scene.box[::2])
    y1, y2 = (round(y * height / scene.size[1]) for y in scene.box[1::2])
    box = (min(x1, width - 1), min(y1, height - 1), max(x2, x1 + 1), max(y2, y1 + 1))
    size = (box[3] - box[1], box[2] - box[0])
    return Scene(resized(scene.photo, size), resized(scene.subject, size), box, (width, height))


def _finished(request: PaintRequest, painted: torch.Tensor) -> Image:
    """A painted canvas [1, 3, h, w] at the request's size, uint8 [H, W, 3], with the photo's own pixels."""
    full = resized(painted, (request.size[1], request.size[0]))
    pixels = ((full[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    out: Image = np.ascontiguousarray(pixels)
    x1, y1, x2, y2 = request.box_px
    out[y1:y2, x1:x2] = request.photo
    return out
