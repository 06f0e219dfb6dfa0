"""Sizes of the network's input, and resizing to them; imports no torch, which an exported cropper does without."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from procrop_model.network.config import SQUARE, CropperConfig

Pixels = NDArray[np.uint8]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE0_MEAN, LITE0_SCALE = 127, 128


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Antialiased bilinear resize of uint8 [H, W, 3], through Pillow so that training and inference agree."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


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


def to_input_size(image: Pixels, config: CropperConfig) -> Pixels:
    """uint8 [H, W, 3] -> uint8 [h, w, 3], as ``input_size`` says."""
    height, width = input_size(image.shape[1], image.shape[0], config)
    return resize(reduce(image, config.source_side), height, width)


def normalised(image: Pixels, config: CropperConfig) -> NDArray[np.float32]:
    """uint8 [h, w, 3] -> float32 [3, h, w] as the backbone was trained: the numbers of ``preprocess.prepare``."""
    pixels = image.astype(np.float32)
    if config.backbone == "lite0":
        scaled = (pixels - LITE0_MEAN) / LITE0_SCALE
    else:
        scaled = (pixels / 255 - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)
