"""The safety checker of Stable Diffusion, for the canvases of every family."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessor

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading, pretrained
from stages.backends.base.protocols import Image


class SafetyChecker:
    """Flags canvases whose CLIP features are near one of the concepts that the checker's authors listed.

    Args:
        model: folder of a pipeline or of a checker.
        own: whether ``model`` is a pipeline that brings its checker.
        device: that the checker runs on.
        dtype: of the weights and activations.
        variant: of the weights' files; empty for the plain ones.
    """

    def __init__(self, model: Path, own: bool, device: str, *, dtype: torch.dtype, variant: str = "") -> None:
        self._dtype = dtype
        weights, processor = (model / "safety_checker", model / "feature_extractor") if own else (model, model)
        if own and not weights.is_dir():
            raise ModelError(
                f"'{model}' has no safety checker: name one in models.outpainter.safety_model (for example "
                "CompVis/stable-diffusion-safety-checker), or set safety: false and look at the canvases yourself"
            )
        with loading(f"the safety checker's feature extractor in '{processor}'"):
            self._processor = CLIPImageProcessor.from_pretrained(processor, local_files_only=True)
        self._checker = pretrained(
            StableDiffusionSafetyChecker, weights, "the safety checker", dtype=dtype, device=device, variant=variant
        )
        self._device = device

    def flags(self, canvases: Sequence[Image]) -> list[bool]:
        """Whether each canvas uint8 [H, W, 3] is unsafe; canvases of one size."""
        pixels = self._processor(list(canvases), return_tensors="pt").pixel_values.to(self._device, self._dtype)
        with torch.inference_mode():
            _, flags = self._checker(clip_input=pixels, images=np.zeros((len(canvases), 1, 1, 3), np.float32))
        return [bool(flag) for flag in flags]
