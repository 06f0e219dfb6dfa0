"""Sine positions as DETR has them: temperature 10,000, over the cells of the valid region (DETR, appendix A.4)."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10_000.0


def sine_of_centres(points: Tensor, dim: int) -> Tensor:
    """Points (x, y) in 0..1 [..., 2] -> [..., dim]: the first half for y, the second for x, sines and cosines in turn."""
    half = dim // 2
    steps = torch.arange(half, device=points.device, dtype=points.dtype)
    scale = TEMPERATURE ** (2 * (steps // 2) / half)
    angles = 2 * math.pi * points.flip(-1)[..., None] / scale  # [..., 2, dim / 2]
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1).flatten(-3)


def sine_of_cells(valid: Tensor, dim: int) -> Tensor:
    """Positions of the cells of a map, counted from 1 over the valid region: bool [B, H, W] -> [B, H, W, dim].

    What padding gets has no meaning: no layer looks at it.
    """
    rows, columns = valid.float().cumsum(1), valid.float().cumsum(2)
    y, x = rows / (rows[:, -1:] + 1e-6), columns / (columns[:, :, -1:] + 1e-6)
    return sine_of_centres(torch.stack([x, y], -1), dim)
