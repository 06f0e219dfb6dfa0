"""Inference with a captioning checkpoint."""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from PIL import Image as Pillow

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading, locate, pretrained, read_config
from stages.backends.base.devices import in_batches, pick_device
from stages.backends.base.protocols import Image
from stages.backends.captioners.hub import HubCaptionerSettings

# kind -> ``model_type`` of its config.json, and its class in transformers.
CLASSES = {
    "blip": ("blip", "BlipForConditionalGeneration"),
    "blip2": ("blip-2", "Blip2ForConditionalGeneration"),
    "florence": ("florence2", "Florence2ForConditionalGeneration"),
}


class CaptionEngine:
    """A loaded model with its processor; ModelError for a checkpoint of another kind or one that does not load."""

    def __init__(self, settings: HubCaptionerSettings) -> None:
        self._settings = settings
        self._device, self._dtype = pick_device(settings.device), getattr(torch, settings.dtype)
        folder = locate(settings.model, settings.revision)
        wanted, name = CLASSES[settings.kind]
        model_type = read_config(folder, "config.json").get("model_type")
        if model_type != wanted:
            raise ModelError(
                f"'{folder}' is of the type '{model_type}'; models.captioner '{settings.kind}' wants '{wanted}'"
            )
        kind = getattr(transformers, name, None)
        if kind is None:
            raise ModelError(
                f"this version of transformers has no {name}: update it for models.captioner '{settings.kind}'"
            )
        self._model = pretrained(kind, folder, "the captioner", dtype=self._dtype, device=self._device)
        with loading(f"the captioner's processor in '{folder}'"):
            processor: Any = transformers.AutoProcessor
            self._processor = processor.from_pretrained(folder, local_files_only=True)

    def captions(self, images: Sequence[Image], ask: str) -> list[str]:
        """One caption an image uint8 [H, W, 3], without the text ``ask`` that was given with it."""
        return in_batches(lambda batch: self._batch(batch, ask), images, self._settings.batch)

    def _batch(self, images: Sequence[Image], ask: str) -> list[str]:
        pictures = [Pillow.fromarray(image) for image in images]
        words = {"text": [ask] * len(pictures)} if ask else {}
        inputs = self._processor(images=pictures, return_tensors="pt", padding=True, **words)
        inputs = inputs.to(self._device, self._dtype)  # changes the type of floats only, so token ids stay integers
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=self._settings.max_new_tokens,
                num_beams=self._settings.num_beams,
                do_sample=False,
            )
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.removeprefix(ask).split()) for text in texts]
