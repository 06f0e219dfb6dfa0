"""Inference with DINOv2 or CLIP as an encoder."""

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import ModelError, UsageError
from stages.backends.base.checkpoint_files import locate, pretrained, read_config
from stages.backends.base.devices import in_batches, pick_device
from stages.backends.base.protocols import Floats, Image
from stages.backends.encoders.hub import HubEncoderSettings

# kind -> ``model_type`` of its config.json, and its class in transformers.
CLASSES = {"dinov2": ("dinov2", "Dinov2Model"), "clip": ("clip", "CLIPVisionModelWithProjection")}


class HubEncoderEngine:
    """A loaded model. Raises ModelError for a checkpoint of another kind or one that does not load."""

    def __init__(self, settings: HubEncoderSettings) -> None:
        self._settings = settings
        self._device, self._dtype = pick_device(settings.device), getattr(torch, settings.dtype)
        folder = locate(settings.model, settings.revision)
        wanted, name = CLASSES[settings.kind]
        model_type = read_config(folder, "config.json").get("model_type")
        if model_type not in (wanted, f"{wanted}_vision_model"):
            raise ModelError(
                f"'{folder}' is of the type '{model_type}'; models.encoder '{settings.kind}' wants '{wanted}'"
            )
        kind = getattr(transformers, name)
        self._model = pretrained(kind, folder, "the encoder", dtype=self._dtype, device=self._device)
        self._side = settings.size or int(self._model.config.image_size)
        if self._side % self._model.config.patch_size:
            raise UsageError(f"models.encoder.size {self._side}: give a multiple of {self._model.config.patch_size}")
        about = read_config(folder, "preprocessor_config.json")
        self._mean, self._std = (torch.tensor(about[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))

    def encode(self, images: Sequence[Image]) -> list[tuple[Floats, Floats]]:
        """(vector [D] of length one, tokens [grid * grid, C]) of each uint8 image [H, W, 3], resized to a square."""
        return in_batches(self._batch, images, self._settings.batch)

    def _batch(self, images: Sequence[Image]) -> list[tuple[Floats, Floats]]:
        pixels = torch.stack([self._input(image) for image in images]).to(self._device, self._dtype)
        with torch.inference_mode():
            out = (
                self._model(pixel_values=pixels, interpolate_pos_encoding=True)
                if self._interpolates
                else self._model(pixel_values=pixels)
            )
            embeds = out.image_embeds if self._settings.kind == "clip" else out.last_hidden_state[:, 0]
            vectors = functional.normalize(embeds.float(), dim=-1)
            side = self._side // self._model.config.patch_size
            patches = out.last_hidden_state[:, -side * side :].float()  # [B, side * side, C]
            squares = patches.transpose(1, 2).unflatten(2, (side, side))  # [B, C, side, side]
            tokens = functional.adaptive_avg_pool2d(squares, self._settings.grid).flatten(2).transpose(1, 2)
        return list(zip(_arrays(vectors), _arrays(tokens), strict=True))

    @property
    def _interpolates(self) -> bool:
        """Whether to ask for interpolated position embeddings: CLIP needs the flag, DINOv2 always interpolates."""
        return self._settings.kind == "clip" and self._side != self._model.config.image_size

    def _input(self, image: Image) -> Tensor:
        small = Pillow.fromarray(image).resize((self._side, self._side), Pillow.Resampling.BICUBIC)
        return (torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255 - self._mean) / self._std


def _arrays(tensor: Tensor) -> list[Floats]:
    return list(tensor.cpu().numpy().astype(np.float32))
