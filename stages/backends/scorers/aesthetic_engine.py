"""Inference with an aesthetic network and its head.

Letters: B crops of a batch, S side of the network's square input in pixels, C channels of an embedding.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection, SiglipVisionModel

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import locate, pretrained, read_config
from stages.backends.base.devices import in_batches, pick_device
from stages.backends.base.protocols import Floats, Image
from stages.backends.base.weight_files import read_weights
from stages.backends.scorers.aesthetic import AestheticSettings

_DECIMALS = 4  # a batch of another size changes the last bits of a score
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation that networks without their own use


class AestheticEngine:
    """Loaded weights. Raises ModelError when they do not load, or when head and network do not fit."""

    def __init__(self, settings: AestheticSettings) -> None:
        self._settings = settings
        self._device, self._dtype = pick_device(settings.device), getattr(torch, settings.dtype)
        load = {"laion": _clip, "siglip": _siglip, "nima": _nima}[settings.kind]
        self._network, self._side, (mean, std) = load(settings, self._device, self._dtype)
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def score(self, images: Sequence[Image], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the boxes [N, 4] of each image."""
        crops = [(image, box) for image, own in zip(images, boxes, strict=True) for box in np.asarray(own)]
        values = in_batches(self._batch, crops, self._settings.batch)
        ends = np.cumsum([len(own) for own in boxes])[:-1]
        return list(np.split(np.asarray(values, np.float32), ends)) if len(images) else []

    def _batch(self, crops: Sequence[tuple[Image, Floats]]) -> list[float]:
        pixels = torch.stack([self._input(*crop) for crop in crops]).to(self._device, self._dtype)  # [B, 3, S, S]
        with torch.inference_mode():
            raw = self._network(pixels).float().cpu().numpy()  # [B]
        return [float(value) for value in np.clip(np.round(raw, _DECIMALS), 0, 10)]

    def _input(self, image: Image, box: Floats) -> Tensor:
        height, width = image.shape[:2]
        x1, y1 = (max(0, min(round(float(v)), end - 1)) for v, end in zip(box[:2], (width, height), strict=True))
        x2, y2 = (max(low + 1, round(float(v))) for v, low in zip(box[2:], (x1, y1), strict=True))
        crop = Pillow.fromarray(np.ascontiguousarray(image[y1:y2, x1:x2]))
        if self._settings.fit == "centre":
            side = min(crop.size)
            left, top = (crop.width - side) // 2, (crop.height - side) // 2
            crop = crop.crop((left, top, left + side, top + side))
        small = crop.resize((self._side, self._side), Pillow.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255  # [3, S, S]
        return (values - self._mean) / self._std


# The network from pixels [B, 3, S, S] to scores [B]; S; mean and deviation of its input.
Loaded = tuple[Callable[[Tensor], Tensor], int, tuple[Sequence[float], Sequence[float]]]


def _clip(settings: AestheticSettings, device: str, dtype: torch.dtype) -> Loaded:
    folder = locate(settings.model, settings.revision)
    model = pretrained(CLIPVisionModelWithProjection, folder, "CLIP", dtype=dtype, device=device)
    head = _fitting_head(settings, model.config.projection_dim).to(device, dtype)
    return (
        lambda pixels: _through(head, model(pixel_values=pixels).image_embeds),
        _input_side(model.config),
        _normalisation(folder),
    )


def _siglip(settings: AestheticSettings, device: str, dtype: torch.dtype) -> Loaded:
    folder = locate(settings.model, settings.revision)
    model = pretrained(SiglipVisionModel, folder, "SigLIP", dtype=dtype, device=device)
    head = _fitting_head(settings, model.config.hidden_size).to(device, dtype)
    return (
        lambda pixels: _through(head, model(pixel_values=pixels).pooler_output),
        _input_side(model.config),
        _normalisation(folder),
    )


def _nima(settings: AestheticSettings, device: str, dtype: torch.dtype) -> Loaded:
    """Talebi and Milanfar, "NIMA: neural image assessment", 2018: the mean of ten softmax bins, 1 to 10."""
    try:
        import timm  # of the extra 'models': the other scorers do without
    except ImportError as error:
        raise ModelError("the scorer nima needs the package timm: pip install 'procrop-data[models]'") from error
    state = read_weights(locate(settings.head))
    if not timm.is_model(settings.model):
        raise ModelError(f"models.scorer.model '{settings.model}': timm has no network of this name")
    net: Any = timm.create_model(settings.model, features_only=True, pretrained=False)
    own = {name.removeprefix("base_model."): value for name, value in state.items() if name.startswith("base_model.")}
    try:
        net.load_state_dict(own)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise ModelError(f"'{settings.head}' does not fit timm's {settings.model}: {first}") from error
    head = linear_chain(
        {name.removeprefix("classifier."): v for name, v in state.items() if "classifier." in name}, settings.head
    )
    net, head = net.eval().to(device, dtype), head.to(device, dtype)
    about = net.pretrained_cfg
    mean, std = about.get("mean", _IMAGENET[0]), about.get("std", _IMAGENET[1])

    def score(pixels: Tensor) -> Tensor:
        return mean_of_distribution(head(net(pixels)[-1].mean(dim=(2, 3))))  # [B, C, h, w] -> [B]

    return score, int(about.get("input_size", (3, 224, 224))[-1]), (mean, std)


def _input_side(config: Any) -> int:
    """S of a vision model, whose configuration may have it as another type for other models."""
    return int(config.image_size)


def _fitting_head(settings: AestheticSettings, width: int) -> nn.Sequential:
    head = linear_chain(read_weights(locate(settings.head)), settings.head)
    takes = head[0].in_features
    if takes != width:
        raise ModelError(f"the head '{settings.head}' takes {takes} features, '{settings.model}' gives {width}")
    return head


def _through(head: nn.Sequential, embeds: Tensor) -> Tensor:
    """Embeddings [B, C] -> scores [B]; both families of heads were trained on embeddings of length one."""
    scores: Tensor = head(embeds / embeds.norm(dim=-1, keepdim=True))[:, 0]
    return scores


def _normalisation(folder: Path) -> tuple[list[float], list[float]]:
    values = read_config(folder, "preprocessor_config.json")
    mean, std = (torch.tensor(values[name]).tolist() for name in ("image_mean", "image_std"))
    return mean, std


def linear_chain(state: Mapping[str, Tensor], origin: str) -> nn.Sequential:
    """Linear layers one after another, in the order of the numbers in their names.

    LAION's and SigLIP's heads have nothing between them but dropout. Raises ModelError when the layers do not fit one another.

    Args:
        state: weights by name.
        origin: the file, for errors.
    """
    names = sorted((n for n in state if n.endswith("weight")), key=lambda n: [int(d) for d in re.findall(r"\d+", n)])
    layers: list[nn.Module] = []
    for name in names:
        weight, bias = state[name], state.get(f"{name.removesuffix('weight')}bias")
        if weight.ndim != 2 or bias is None or len(bias) != len(weight):
            raise ModelError(
                f"the head '{origin}' has a layer '{name}' that is not linear: it is of another architecture"
            )
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(weight.float(), False), nn.Parameter(bias.float(), False)
        if layers and layers[-1].out_features != layer.in_features:
            raise ModelError(f"the head '{origin}': '{name}' takes {layer.in_features}, not {layers[-1].out_features}")
        layers.append(layer)
    if not layers:
        raise ModelError(f"the head '{origin}' has no layers")
    return nn.Sequential(*layers).eval()


def mean_of_distribution(logits: Tensor) -> Tensor:
    """Logits [B, n] of scores 1 to n -> their mean [B]."""
    values = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    return torch.softmax(logits, dim=-1) @ values
