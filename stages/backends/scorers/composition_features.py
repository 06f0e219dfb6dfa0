"""Encoder features of a crop: its borders on the finer maps, its parts on the coarser ones.

One backbone pass a picture serves any number of boxes. All features are the same for a picture and its mirror image as
far as the encoder's own maps are: left and right are compared with one another, never distinguished.

Letters: N boxes, K projected channels of a level, G rows and columns of a grid with its ring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from procrop_model.network.lite0 import load_lite0, to_input
from procrop_model.network.resize import resize
from procrop_model.network.roi_align import roi_align
from stages.backends.base.protocols import Image
from stages.backends.scorers.border_features import WIDTH as BORDER_WIDTH
from stages.backends.scorers.border_features import border_features
from stages.backends.scorers.composition_files import LONG_SIDE

LEVELS = (1, 2, 3)  # strides 8, 16, 32
WIDTHS = (12, 16, 16)  # projected channels a level
BORDER_LEVELS, BORDER_CELLS = (1, 2), 8
POOL_LEVELS, POOL_CELLS = (2, 3), 4
LEAST_COVER = 0.25  # of a cell by the picture, to be more than padding


@dataclass(frozen=True)
class Projection:
    """Per level: mean [C] and matrix [C, K] that turn encoder channels into a few uncorrelated ones."""

    means: tuple[Tensor, ...]
    matrices: tuple[Tensor, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors for a weights file."""
        named = {f"projection.{level}.mean": mean for level, mean in zip(LEVELS, self.means, strict=True)}
        return named | {f"projection.{level}.matrix": m for level, m in zip(LEVELS, self.matrices, strict=True)}

    @staticmethod
    def from_tensors(named: Mapping[str, Tensor]) -> "Projection":
        """The inverse of ``tensors``; raises KeyError when one is missing."""
        return Projection(
            tuple(named[f"projection.{level}.mean"] for level in LEVELS),
            tuple(named[f"projection.{level}.matrix"] for level in LEVELS),
        )


def load_encoder_levels() -> nn.Module:
    """Lite0 up to the levels used here, on the CPU, in eval mode."""
    return load_lite0(levels=LEVELS)


def feature_maps(backbone: nn.Module, image: Image) -> list[Tensor]:
    """Maps [C, h, w], one a level of ``LEVELS``, of uint8 [H, W, 3] resized to a long side of ``LONG_SIDE``."""
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    sides = (max(32, round(height * scale)), max(32, round(width * scale)))
    with torch.inference_mode():
        maps: list[Tensor] = backbone(to_input(resize(image, *sides))[None])
    return [level[0].clone() for level in maps]


def fit_projection(pictures: Sequence[Sequence[Tensor]]) -> Projection:
    """Principal axes of each level over the cells of many pictures, whitened, with signs fixed."""
    means, matrices = [], []
    for position, width in enumerate(WIDTHS):
        cells = torch.cat([maps[position].flatten(1).T for maps in pictures]).double()  # [cells, C]
        mean = cells.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((cells - mean).T))
        axes = vectors[:, -width:].flip(1)
        axes = axes * torch.sign(axes.gather(0, axes.abs().argmax(0, keepdim=True)))
        matrices.append((axes / values[-width:].flip(0).clamp_min(1e-9).sqrt()).float().contiguous())
        means.append(mean.float())
    return Projection(tuple(means), tuple(matrices))


def project(maps: Sequence[Tensor], projection: Projection) -> list[Tensor]:
    """Maps [K + 1, h, w], one a level: projected channels, and a last one of ones.

    That last channel marks content, as RoIAlign pads with 0 outside the picture.
    """
    projected = []
    for level, mean, matrix in zip(maps, projection.means, projection.matrices, strict=True):
        height, width = level.shape[1:]
        cells = (level.flatten(1).T - mean) @ matrix  # [h * w, K]
        projected.append(torch.cat([cells.T.reshape(-1, height, width), torch.ones(1, height, width)]))
    return projected


def encoder_features(projected: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Composition features [N, F], float64, of ``boxes`` [N, 4], fractions of the picture: borders, then pooled ones."""
    levels = dict(zip(LEVELS, projected, strict=True))
    borders = [border_features(*_align(levels[level], boxes, BORDER_CELLS)) for level in BORDER_LEVELS]
    pooled = [_pooled(_align(levels[level], boxes, POOL_CELLS)[0]) for level in POOL_LEVELS]
    return torch.cat([*borders, *pooled], 1)


def _align(known: Tensor, boxes: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Grid [N, K, G, G] of each box and a ring of one cell around it, G = cells + 2, and whether the picture
    continues beyond its sides, bool [N, 4]: left, right, top, bottom.

    A ring cell outside the picture takes the box's own mean. float64: sums over one box or a hundred then agree.
    """
    _, height, width = known.shape
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * ((cells + 2) / cells)
    pixels = torch.cat([centre - half, centre + half], 1) * torch.tensor([width, height, width, height])
    rois = torch.cat([torch.zeros(len(pixels), 1, dtype=pixels.dtype), pixels], 1)  # all of the one picture
    grid = roi_align(known[None], rois.float(), cells + 2, samples=2).double()
    values, cover = grid[:, :-1], grid[:, -1:]  # [N, K, G, G], [N, 1, G, G]
    mean = values[:, :, 1:-1, 1:-1].mean((2, 3), keepdim=True)
    sides = (cover[:, 0, 1:-1, 0], cover[:, 0, 1:-1, -1], cover[:, 0, 0, 1:-1], cover[:, 0, -1, 1:-1])
    beyond = torch.stack([side.mean(1) > LEAST_COVER for side in sides], 1)
    return torch.where(cover > LEAST_COVER, values / cover.clamp_min(LEAST_COVER), mean), beyond


def _pooled(grid: Tensor) -> Tensor:
    """Per channel, of grids [N, K, G, G]: mean, centre less edge, edge less outside, spread; [N, 4 K]."""
    inner = grid[:, :, 1:-1, 1:-1]
    core = inner[:, :, 1:-1, 1:-1]
    edge = (inner.sum((2, 3)) - core.sum((2, 3))) / (inner[0, 0].numel() - core[0, 0].numel())
    outside = (grid.sum((2, 3)) - inner.sum((2, 3))) / (grid[0, 0].numel() - inner[0, 0].numel())
    return torch.cat([inner.mean((2, 3)), core.mean((2, 3)) - edge, edge - outside, inner.flatten(2).std(2)], 1)


def border_width() -> int:
    """How many of the features, the first ones, are about borders."""
    return len(BORDER_LEVELS) * BORDER_WIDTH


def pooled_width() -> int:
    """How many, the others, are pooled."""
    return 4 * sum(WIDTHS[LEVELS.index(level)] for level in POOL_LEVELS)
