"""In-painting in pixel space as a diffusers pipeline: the photo's pixels are known at every step, the rest is denoised."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from stages.backends.outpainters.small_diffusion.network import predict


class SmallInpaintPipeline(DiffusionPipeline):
    """A ``UNet2DModel`` of 7 input channels and a ``DDIMScheduler``; saved and loaded in diffusers' layout."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)  # type: ignore[no-untyped-call]
        self.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def __call__(
        self, known: Tensor, mask: Tensor, generators: Sequence[torch.Generator], num_inference_steps: int = 25
    ) -> Tensor:
        """Canvases [B, 3, H, W] in -1..1, equal to ``known`` where ``mask`` is 1.

        known: [B, 3, H, W] in -1..1, the photo with its edge pixels drawn outward; mask: [B, 1, H, W], 1 on the photo.
        generators: one a sample, on the CPU, so that a sample depends neither on its batch nor on its device.
        """
        shape = known.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=g, device="cpu") for g in generators]).to(known)
        self.scheduler.set_timesteps(num_inference_steps)
        sample = noise
        for time in self.scheduler.timesteps:
            # The same noise at each step: that is the path on which DDIM leads the known pixels to themselves.
            sample = torch.where(mask > 0, self.scheduler.add_noise(known, noise, time.expand(len(known))), sample)
            velocity = predict(self.unet, sample, known, mask, time.expand(len(known)).to(known.device))
            sample = self.scheduler.step(velocity, time, sample).prev_sample
        return torch.where(mask > 0, known, sample).clamp(-1, 1)
