"""From a picture to the tensor that the network takes: the same for training, evaluation and inference."""

import torch
from torch import Tensor

from procrop_model.network.config import CropperConfig
from procrop_model.network.lite0 import to_input
from procrop_model.network.resize import IMAGENET_MEAN, IMAGENET_STD, Pixels, to_input_size

_MEAN = torch.tensor(IMAGENET_MEAN)[:, None, None]
_STD = torch.tensor(IMAGENET_STD)[:, None, None]


def prepare(image: Pixels, config: CropperConfig) -> Tensor:
    """uint8 [H, W, 3] -> float [3, h, w], resized as ``input_size`` says and normalised as the backbone was trained."""
    small = to_input_size(image, config)
    if config.backbone == "lite0":
        return to_input(small)
    return (torch.tensor(small).permute(2, 0, 1).float() / 255 - _MEAN) / _STD
