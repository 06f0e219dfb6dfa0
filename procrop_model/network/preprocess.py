"""From a picture to the tensor that the network takes: the same for training, evaluation and inference."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from procrop_model.network.config import SQUARE, CropperConfig
from procrop_model.network.lite0 import resize, to_input

Pixels = NDArray[np.uint8]
_IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def input_size(width: int, height: int, config: CropperConfig) -> tuple[int, int]:
    """(height, width) of the network's input for an image; multiples of 32."""
    side = config.input_side
    if config.input_mode == SQUARE:
        return (side, side)
    scale = side / max(width, height)
    return (max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32))


def reduce(image: Pixels, side: int) -> Pixels:
    """The picture with its long side at most ``side`` pixels; as it is when ``side`` is 0."""
    height, width = image.shape[:2]
    scale = side / max(width, height)
    if not 0 < scale < 1:
        return image
    return resize(image, max(1, round(height * scale)), max(1, round(width * scale)))


def prepare(image: Pixels, config: CropperConfig) -> Tensor:
    """uint8 [H, W, 3] -> float [3, h, w], resized as ``input_size`` says and normalised as the backbone was trained."""
    height, width = input_size(image.shape[1], image.shape[0], config)
    small = resize(reduce(image, config.source_side), height, width)
    if config.backbone == "lite0":
        return to_input(small)
    return (torch.tensor(small).permute(2, 0, 1).float() / 255 - _IMAGENET_MEAN) / _IMAGENET_STD
