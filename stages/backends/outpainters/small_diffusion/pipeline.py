"""In-painting in pixel space as a diffusers pipeline: the photo's pixels are known at every step, the rest is denoised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading, read_config
from stages.backends.outpainters.small_diffusion.network import CHANNELS, predict

INDEX, UNET, SCHEDULER = "model_index.json", "unet", "scheduler"
WEIGHTS = "diffusion_pytorch_model.safetensors"


class SmallInpaintPipeline(DiffusionPipeline):
    """A ``UNet2DModel`` of 7 input channels and a ``DDIMScheduler``; saved and loaded in diffusers' layout."""

    unet: UNet2DModel
    scheduler: Any

    def __init__(self, unet: UNet2DModel, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)  # type: ignore[no-untyped-call]
        self.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def __call__(
        self, known: Tensor, mask: Tensor, generators: Sequence[torch.Generator], num_inference_steps: int = 25
    ) -> Tensor:
        """Canvases [B, 3, H, W] in -1..1, equal to ``known`` where ``mask`` is 1.

        Args:
            known: [B, 3, H, W] in -1..1, the photo with its edge pixels repeated outward.
            mask: [B, 1, H, W], 1 on the photo.
            generators: one a sample, on the CPU, so that a sample depends neither on its batch nor on its device.
            num_inference_steps: of the scheduler.
        """
        shape = known.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=g, device="cpu") for g in generators]).to(known)
        self.scheduler.set_timesteps(num_inference_steps)
        sample = noise
        for time in self.scheduler.timesteps:
            # The same noise at each step: along that path DDIM maps the known pixels to themselves.
            sample = torch.where(mask > 0, self.scheduler.add_noise(known, noise, time.expand(len(known))), sample)
            velocity = predict(self.unet, sample, known, mask, time.expand(len(known)).to(known.device))
            sample = self.scheduler.step(velocity, time, sample).prev_sample
        return torch.where(mask > 0, known, sample).clamp(-1, 1)


def load_small_pipeline(folder: Path, device: str) -> SmallInpaintPipeline:
    """A trained folder as a pipeline in inference mode, every weight of which came from the file.

    Raises ModelError for a folder that lacks parts, is damaged or holds another kind of model.
    """
    class_name = read_config(folder, INDEX).get("_class_name")
    if class_name != SmallInpaintPipeline.__name__:
        raise ModelError(f"'{folder}' is a {class_name}, not a model of 'procrop-data train-outpainter'")
    config = read_config(folder / UNET, "config.json")
    if config.get("in_channels") != CHANNELS:
        raise ModelError(f"the unet in '{folder}' takes {config.get('in_channels')} channels, not {CHANNELS}")
    network: Any = UNet2DModel
    with loading(f"the unet in '{folder}'"):
        unet = network.from_config(config)
        # Strict, where from_pretrained would leave missing weights random.
        unet.load_state_dict(load_file(folder / UNET / WEIGHTS))
    schedule: Any = DDIMScheduler
    with loading(f"the scheduler in '{folder}'"):
        scheduler = schedule.from_pretrained(folder / SCHEDULER)
    loaded: SmallInpaintPipeline = SmallInpaintPipeline(unet.eval(), scheduler).to(device)
    return loaded
