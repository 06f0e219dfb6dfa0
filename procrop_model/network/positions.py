"""Sine positions of points in the image, and of the cells of its valid region (Conditional DETR, section 3)."""

import math

import torch
from torch import Tensor

TEMPERATURE = 20.0  # coordinates are in 0..1, so that the 10,000 of language models would leave most channels constant


def sine_of_points(points: Tensor, dim: int) -> Tensor:
    """Points (x, y) in 0..1 [..., 2] -> [..., dim]: the first half for y, the second for x, sines and cosines in
    turn.
    """
    steps = torch.arange(dim // 4, device=points.device, dtype=points.dtype)
    frequencies = 2 * math.pi * TEMPERATURE ** (steps / max(1, dim // 4 - 1))
    angles = points.flip(-1)[..., None] * frequencies  # [..., 2, dim / 4]
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-3)


def cell_centres(valid: Tensor) -> Tensor:
    """Centres (x, y) of the cells as fractions of the valid region: bool [B, H, W] -> [B, H, W, 2]; beyond 1 on
    padding.
    """
    height = valid.any(2).sum(1).clamp_min(1)[:, None, None]
    width = valid.any(1).sum(1).clamp_min(1)[:, None, None]
    rows = torch.arange(valid.shape[1], device=valid.device)[None, :, None] + 0.5
    columns = torch.arange(valid.shape[2], device=valid.device)[None, None, :] + 0.5
    x, y = columns / width, rows / height
    return torch.stack([x.expand(valid.shape), y.expand(valid.shape)], -1)
