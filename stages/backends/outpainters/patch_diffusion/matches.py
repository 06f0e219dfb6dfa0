"""Matches: the sources of each patch of a canvas, carried from scale to scale and passed between neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.backends.outpainters.patch_diffusion.pyramid import Level

Grid = tuple[int, int, int]


def unravel(index: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Plane, row and column of source indices, for ``grid`` = (planes, rows, columns)."""
    _, rows, columns = grid
    return index // (rows * columns), index // columns % rows, index % columns


def ravel(plane: Tensor, row: Tensor, column: Tensor, grid: Grid) -> Tensor:
    """Source indices of positions, which are moved inside the photo first."""
    _, rows, columns = grid
    return (plane * rows + row.clamp(0, rows - 1)) * columns + column.clamp(0, columns - 1)


def moved(index: Tensor, down: Tensor | int, right: Tensor | int, grid: Grid) -> Tensor:
    """Sources ``down`` rows below and ``right`` columns to the right of ``index``, on the same plane."""
    plane, row, column = unravel(index, grid)
    return ravel(plane, row + down, column + right, grid)


def in_place(level: Level, grid: Grid) -> Tensor:
    """For each patch of the level [gy, gx] the source at the same spot of the canvas, or the nearest to it."""
    row = torch.arange(level.grid[0])[:, None] * level.stride - level.box[1]
    column = torch.arange(level.grid[1])[None] * level.stride - level.box[0]
    return ravel(torch.zeros_like(row), row, column, grid)


def refined(coarse: Tensor, coarse_grid: Grid, coarse_level: Level, grid: Grid, level: Level) -> Tensor:
    """Matches of a scale [cy, cx, K], carried to the next finer one: [gy, gx, K]."""
    factor = max(level.true_size) / max(coarse_level.true_size)
    row = torch.arange(level.grid[0]) * level.stride / factor
    column = torch.arange(level.grid[1]) * level.stride / factor
    cy = (row / coarse_level.stride).round().long().clamp(0, coarse.shape[0] - 1)
    cx = (column / coarse_level.stride).round().long().clamp(0, coarse.shape[1] - 1)
    plane, source_row, source_column = unravel(coarse[cy][:, cx], coarse_grid)
    down = source_row + (row - cy * coarse_level.stride)[:, None, None]
    right = source_column + (column - cx * coarse_level.stride)[None, :, None]
    return ravel(plane, (down * factor).round().long(), (right * factor).round().long(), grid)


def candidates(matches: Tensor, stride: int, grid: Grid, jitter: int, generator: torch.Generator) -> Tensor:
    """[gy, gx, K + 6]: own matches, the four neighbours' best moved to this patch, and two random moves of the own best.

    As in PatchMatch (Barnes et al., 2009): propagation and random search. jitter: largest random move in source pixels.
    """
    best = matches[..., 0]
    padded = F.pad(best[None, None].double(), (1, 1, 1, 1), mode="replicate")[0, 0].long()
    around = [
        moved(padded[:-2, 1:-1], stride, 0, grid),
        moved(padded[2:, 1:-1], -stride, 0, grid),
        moved(padded[1:-1, :-2], 0, stride, grid),
        moved(padded[1:-1, 2:], 0, -stride, grid),
    ]
    steps = torch.randint(-jitter, jitter + 1, (2, 2, *best.shape), generator=generator, device="cpu").to(best.device)
    near = [moved(best, step[0], step[1], grid) for step in steps]
    return torch.cat([matches, torch.stack(around + near, -1)], -1)


def repeated(index: Tensor) -> Tensor:
    """bool [Q, K]: whether an earlier column of the row holds the same source."""
    order = index.sort(dim=1, stable=True)
    twice = F.pad(order.values[:, 1:] == order.values[:, :-1], (1, 0))
    return torch.zeros_like(twice).scatter(1, order.indices, twice)
