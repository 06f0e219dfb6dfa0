"""The parts of diffusers' pipelines that are used here; diffusers itself leaves most of them without types.

Letters: B canvases, H and W their height and width in pixels.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypedDict

import torch
from torch import Tensor


class PipelineInputs(TypedDict, total=False):
    """Arguments of every family's pipeline, beside the text features."""

    image: Tensor  # [B, 3, H, W] in 0..1
    mask_image: Tensor  # [B, 1, H, W], 1 where to paint
    height: int
    width: int
    strength: float
    num_inference_steps: int
    guidance_scale: float
    generator: list[torch.Generator]
    output_type: str
    control_image: Tensor  # [B, 3, H, W] in 0..1
    controlnet_conditioning_scale: float


class PipelineOutput(Protocol):
    """Of ``output_type`` ``pt``."""

    images: Tensor  # [B, 3, H, W] in 0..1


class Scheduler(Protocol):
    """A noise schedule with its sampler."""

    config: Mapping[str, object]
    compatibles: Sequence[type]

    @classmethod
    def from_config(cls, config: Mapping[str, object], **changes: object) -> "Scheduler":
        """A scheduler of this class with another one's configuration."""


class Autoencoder(Protocol):
    """The network between pixels and latents."""

    decode: Callable[..., object]

    def enable_slicing(self) -> None:
        """Decode one image at a time."""

    def enable_tiling(self) -> None:
        """Decode in tiles."""

    def to(self, *, memory_format: torch.memory_format) -> object:
        """Change the layout of the weights."""


class Pipeline(Protocol):
    """A loaded pipeline of any family."""

    scheduler: Scheduler
    vae: Autoencoder
    _execution_device: torch.device

    @property
    def encode_prompt(self) -> Callable[..., tuple[Tensor, ...]]:
        """Text features; arguments and results differ by family."""

    @property
    def lora_state_dict(self) -> Callable[..., object]:
        """Weights of a LoRA file by diffusers' names, with or without their alphas."""

    def __call__(self, **inputs: object) -> PipelineOutput:
        """Canvases of ``PipelineInputs`` and text features."""

    def set_progress_bar_config(self, *, disable: bool) -> None:
        """Show no progress bar."""

    def enable_attention_slicing(self) -> None:
        """Compute attention in slices, which takes less memory."""

    def enable_xformers_memory_efficient_attention(self) -> None:
        """Compute attention by xformers."""

    def enable_model_cpu_offload(self, *, device: str) -> None:
        """Move each model to the device when it is used."""

    def enable_sequential_cpu_offload(self, *, device: str) -> None:
        """Move each layer to the device when it is used."""

    def to(self, device: str) -> object:
        """Move all weights."""


def accepted_inputs(pipe: object) -> frozenset[str]:
    """Names of the arguments that a pipeline's class is called with."""
    return frozenset(inspect.signature(type(pipe).__call__).parameters)
