"""A captioning checkpoint at work."""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from PIL import Image as Pillow

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading, locate, pretrained, read_config
from stages.backends.base.devices import in_batches, pick
from stages.backends.base.protocols import Image
from stages.backends.captioners.hub import HubCaptionerSettings

# kind -> what its config.json calls it, and its class.
CLASSES = {
    "blip": ("blip", "BlipForConditionalGeneration"),
    "blip2": ("blip-2", "Blip2ForConditionalGeneration"),
    "florence": ("florence2", "Florence2ForConditionalGeneration"),
}


class CaptionEngine:
    """A loaded model with its processor; ModelError for a checkpoint of another kind or one that does not load."""

    def __init__(self, settings: HubCaptionerSettings) -> None:
        self._settings = settings
        self._device, self._dtype = pick(settings.device), getattr(torch, settings.dtype)
        folder = locate(settings.model, settings.revision)
        wanted, name = CLASSES[settings.kind]
        found = read_config(folder, "config.json").get("model_type")
        if found != wanted:
            raise ModelError(
                f"'{folder}' is of the type '{found}'; models.captioner '{settings.kind}' wants '{wanted}'"
            )
        kind = getattr(transformers, name, None)
        if kind is None:
            raise ModelError(
                f"this version of transformers has no {name}: update it for models.captioner '{settings.kind}'"
            )
        self._model: Any = pretrained(kind, folder, "the captioner", dtype=self._dtype).to(self._device)
        with loading(f"the captioner's processor in '{folder}'"):
            processor: Any = transformers.AutoProcessor
            self._processor = processor.from_pretrained(folder, local_files_only=True)

    def answers(self, images: Sequence[Image], ask: str) -> list[str]:
        """One answer an image uint8 [H, W, 3], without the question."""
        return in_batches(lambda batch: self._batch(batch, ask), images, self._settings.batch)

    def _batch(self, images: Sequence[Image], ask: str) -> list[str]:
        pictures = [Pillow.fromarray(image) for image in images]
        words = {"text": [ask] * len(pictures)} if ask else {}
        given = self._processor(images=pictures, return_tensors="pt", padding=True, **words)
        given = given.to(self._device, self._dtype)  # token numbers stay whole: only floats change their type
        with torch.inference_mode():
            tokens = self._model.generate(
                **given, max_new_tokens=self._settings.max_tokens, num_beams=self._settings.beams, do_sample=False
            )
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.removeprefix(ask).split()) for text in texts]
