"""The safety checker of Stable Diffusion, for the canvases of every family."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessor

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading, pretrained
from stages.backends.base.protocols import Image


class SafetyChecker:
    """Says which canvases show what its authors listed, by CLIP features."""

    def __init__(self, model: Path, own: bool, device: str, **options: Any) -> None:
        """model: a pipeline's folder (``own``: the checker is a part of it), or a checker's. options: dtype, variant."""
        self._dtype = options["dtype"]
        weights, processor = (model / "safety_checker", model / "feature_extractor") if own else (model, model)
        if own and not weights.is_dir():
            raise ModelError(
                f"'{model}' has no safety checker: name one in models.outpainter.safety_model (for example "
                "CompVis/stable-diffusion-safety-checker), or say safety: false and look at the canvases yourself"
            )
        with loading(f"the safety checker's feature extractor in '{processor}'"):
            self._processor = CLIPImageProcessor.from_pretrained(processor, local_files_only=True)
        checker: Any = pretrained(StableDiffusionSafetyChecker, weights, "the safety checker", **options)
        self._checker = checker.to(device)
        self._device = device

    def flags(self, canvases: Sequence[Image]) -> list[bool]:
        """Whether each canvas uint8 [H, W, 3] is unsafe; canvases of one size."""
        pixels = self._processor(list(canvases), return_tensors="pt").pixel_values.to(self._device, self._dtype)
        with torch.inference_mode():
            _, found = self._checker(clip_input=pixels, images=np.zeros((len(canvases), 1, 1, 3), np.float32))
        return [bool(flag) for flag in found]
