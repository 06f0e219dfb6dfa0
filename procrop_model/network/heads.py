"""Heads: boxes and scores of decoded queries, and the score of any given box by RoIAlign."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from procrop_model.network.backbone import Features
from procrop_model.network.boxes import xyxy_to_cxcywh
from procrop_model.network.roi_align import roi_align

PRIOR = 0.01  # probability of a good crop at the start (RetinaNet, section 3.3)
SURROUNDINGS = 1.4  # the second RoI is the box enlarged by this factor, since what a crop leaves out matters as much


class BoxHead(nn.Sequential):
    """3-layer MLP [..., D] -> [..., 4], added to the logit of the reference box; starts at zero."""

    def __init__(self, dim: int) -> None:
        last = nn.Linear(dim, 4)
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), last)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)


class ScoreHead(nn.Linear):
    """[..., D] -> [..., 1] logits, at the focal prior to start with."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 1)
        nn.init.constant_(self.bias, math.log(PRIOR / (1 - PRIOR)))


class RoiScoreHead(nn.Module):
    """Scores any box from the features within it and around it, and from its geometry.

    One output says whether a box is the best crop; a second one, where there is one, how well it is composed.
    """

    def __init__(self, dim: int, cells: int, dropout: float, *, outputs: int = 1, reduced: int = 32) -> None:
        super().__init__()
        self.cells = cells
        self.reduce = nn.Conv2d(dim, reduced, 1)
        self.geometry = nn.Linear(6, dim)
        self.mlp = nn.Sequential(
            nn.Linear(2 * reduced * cells * cells, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.GELU(), nn.Linear(dim, outputs))

    def forward(self, features: Features, boxes: Tensor, aspects: Tensor) -> Tensor:
        """
        Args:
            features: of B images.
            boxes: [B, R, 4] xyxy of the image in 0..1.
            aspects: [B], width / height of each image.

        Gives logits [B, R, outputs].
        """
        filled = replicate_edge(self.reduce(features.grid), features.valid)
        extent = torch.stack([features.valid.any(1).sum(1), features.valid.any(2).sum(1)], -1)  # [B, 2] cells
        return self.score_boxes(filled, extent, boxes=boxes, aspects=aspects)

    def score_boxes(self, filled: Tensor, extent: Tensor, *, boxes: Tensor, aspects: Tensor) -> Tensor:
        """``forward`` from reduced, edge-filled maps [B, C, H, W] and their valid extent [B, 2] in cells, (x, y)."""
        grown = xyxy_to_cxcywh(boxes)
        half = grown[..., 2:] * SURROUNDINGS / 2
        around = torch.cat([grown[..., :2] - half, grown[..., :2] + half], -1).clamp(0, 1)
        within = self._align(filled, boxes.clamp(0, 1), extent)
        beyond = self._align(filled, around, extent)
        hidden = self.mlp(torch.cat([within, beyond], -1)) + self.geometry(_geometry(boxes, aspects))
        return cast(Tensor, self.out(hidden))

    def _align(self, grid: Tensor, boxes: Tensor, extent: Tensor) -> Tensor:
        cells = boxes * extent.repeat(1, 2)[:, None].to(boxes.dtype)  # [B, N, 4]
        image = torch.arange(len(grid), device=grid.device, dtype=boxes.dtype)[:, None, None]
        rois = torch.cat([image.expand(-1, boxes.shape[1], -1), cells], -1).flatten(0, 1)  # [B N, 5]
        sampled = roi_align(grid, rois, self.cells, samples=1)
        return sampled.reshape(*boxes.shape[:2], -1)  # [B, N, C * cells * cells]


def replicate_edge(grid: Tensor, valid: Tensor) -> Tensor:
    """Fills padding with the nearest valid cell, so that sampling at the edge sees what it would see without padding.

    grid [B, C, H, W], valid bool [B, H, W] -> [B, C, H, W].
    """
    if bool(valid.all()):
        return grid
    channels, height, width = grid.shape[1:]
    last_row, last_column = valid.any(2).sum(1) - 1, valid.any(1).sum(1) - 1
    rows = torch.minimum(torch.arange(height, device=grid.device)[None], last_row[:, None])
    columns = torch.minimum(torch.arange(width, device=grid.device)[None], last_column[:, None])
    flat = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # [B, H W]
    filled = grid.flatten(2).gather(2, flat[:, None].expand(-1, channels, -1))
    return filled.reshape(-1, channels, height, width)


def _geometry(boxes: Tensor, aspects: Tensor) -> Tensor:
    centre_size = xyxy_to_cxcywh(boxes)
    sides = centre_size[..., 2:].clamp_min(1e-3)
    shape = (sides[..., 0] / sides[..., 1]).log() + aspects.clamp_min(1e-3).log()[:, None]
    area = sides.prod(-1)
    return torch.cat([centre_size, shape[..., None], area[..., None]], -1)
