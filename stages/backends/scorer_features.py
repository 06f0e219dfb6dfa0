"""What the composition scorer sees of a crop through the encoder: features on a grid of the box and of its ring.

One backbone pass a picture serves any number of boxes. All features are the same for a picture and its mirror image as
far as the encoder's own maps are; sides are only ever compared, never named.

Letters: N boxes, K projected channels of a level, R rows and columns of the inner grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from procrop_model.lite0 import CHANNELS, load_lite0, resize, to_input
from stages.backends.protocols import Image
from stages.backends.scorer_files import LONG_SIDE

LEVELS = (2, 3)
WIDTHS = (16, 16)
INNER = 4
RING = 1
_GRID = INNER + 2 * RING


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


def load_backbone() -> nn.Module:
    """Lite0 up to the levels used here, on the CPU, in eval mode."""
    return load_lite0(levels=LEVELS)


def feature_maps(backbone: nn.Module, image: Image) -> list[Tensor]:
    """Maps [C, h, w], one a level of ``LEVELS``, of uint8 [H, W, 3] resized to a long side of ``LONG_SIDE``."""
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    sides = (max(32, round(height * scale)), max(32, round(width * scale)))
    with torch.inference_mode():
        maps: list[Any] = backbone(to_input(resize(image, *sides))[None])
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


def encoder_features(maps: Sequence[Tensor], projection: Projection, boxes: Tensor) -> Tensor:
    """Composition features [N, F] of ``boxes`` [N, 4], fractions of the picture, from its ``maps``."""
    parts = []
    for level, mean, matrix in zip(maps, projection.means, projection.matrices, strict=True):
        height, width = level.shape[1:]
        cells = (level.flatten(1).T - mean) @ matrix  # [h * w, K]
        known = torch.cat([cells.T.reshape(-1, height, width), torch.ones(1, height, width)])  # [K + 1, h, w]
        parts.append(_grid_features(_align(known, boxes)))
    return torch.cat(parts, 1)


def _align(known: Tensor, boxes: Tensor) -> Tensor:
    """Grid [N, K, 6, 6] of each box and its ring; cells outside the picture take the box's own mean.

    The ring is a quarter of the box wide, so the inner 4 x 4 cells are the box itself. The last channel of ``known`` is
    1 inside the picture, so what RoIAlign pads with 0 can be told from content.
    """
    _, height, width = known.shape
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (_GRID / INNER)
    pixels = torch.cat([centre - half, centre + half], 1) * torch.tensor([width, height, width, height])
    rois = [pixels.float()]
    grid = roi_align(known[None], rois, (_GRID, _GRID), sampling_ratio=2, aligned=True)  # [N, K + 1, 6, 6]
    values, cover = grid[:, :-1], grid[:, -1:]
    mean = (values[:, :, RING:-RING, RING:-RING]).mean((2, 3), keepdim=True)
    return torch.where(cover > 0.25, values / cover.clamp_min(0.25), mean)


def _grid_features(grid: Tensor) -> Tensor:
    """Mirror-symmetric summaries [N, F] of grids [N, K, 6, 6]."""
    inner = grid[:, :, RING:-RING, RING:-RING]  # [N, K, 4, 4]
    mirrored = inner.flip(3)
    left_right = ((inner + mirrored) / 2)[..., : INNER // 2]  # [N, K, 4, 2]
    imbalance = (inner - mirrored)[..., : INNER // 2].abs().mean((2, 3))  # [N, K]
    centre = inner[:, :, 1:-1, 1:-1].mean((2, 3))
    edge = (inner.sum((2, 3)) - inner[:, :, 1:-1, 1:-1].sum((2, 3))) / (INNER * INNER - 4)
    outside = (grid.sum((2, 3)) - inner.sum((2, 3))) / (_GRID * _GRID - INNER * INNER)
    spread = inner.flatten(2).std(2)
    return torch.cat([left_right.flatten(1), imbalance, centre - edge, edge - outside, spread], 1)


def encoder_width() -> int:
    """F of ``encoder_features``."""
    return sum(width * (INNER * INNER // 2 + 4) for width in WIDTHS)


def channels() -> tuple[int, ...]:
    """Encoder channels of each level used."""
    return tuple(CHANNELS[level] for level in LEVELS)
