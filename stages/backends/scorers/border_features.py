"""Features of a crop's sides: whether the content continues, ends or is cut there, and how much of it lies at the edge.

Strips just inside and just outside each side, compared in whitened encoder channels. Only distances and energies are kept,
never the channels themselves, so the features depend little on which photographs were trained on.

Letters: N boxes, K channels, G cells a side of the grid: a ring of one cell outside the box, G - 2 cells inside.
"""

import torch
from torch import Tensor

QUANTITIES = ("energy_in", "energy_out", "energy_drop", "change", "change_by_cell", "jump", "busy", "busy_drop")
WIDTH = 4 * len(QUANTITIES) + 9


def border_features(grid: Tensor, known: Tensor) -> Tensor:
    """Features [N, WIDTH] of grids [N, K, G, G].

    Left and right are only distinguished as the larger and the smaller value, so a mirrored picture has the same features.

    Args:
        grid: whitened encoder channels over each box and a ring of one cell around it.
        known: bool [N, 4], whether the picture continues beyond the left, right, top and bottom side. Where it ends,
            nothing changes across the side.
    """
    inside, outside, deeper = _strips(grid, 1), _strips(grid, 0), _strips(grid, 2)  # each [N, 4, K, G - 2]
    outside = torch.where(known[:, :, None, None], outside, inside)
    energy_in, energy_out = _norm(inside, (2, 3)), _norm(outside, (2, 3))
    change = _norm(inside.mean(3) - outside.mean(3), 2)
    by_cell = _norm(inside - outside, 2).mean(2)
    jump = by_cell - _norm(inside - deeper, 2).mean(2)
    busy, busy_out = inside.std(3).mean(2), outside.std(3).mean(2)
    sides = [energy_in, energy_out, energy_in - energy_out, change, by_cell, jump, busy, busy - busy_out]  # each [N, 4]
    inner = grid[:, :, 1:-1, 1:-1]
    whole = [
        _norm(inner, (1, 2, 3)),
        inner.flatten(2).std(2).mean(1),
        _norm(grid[:, :, 3:-3, 3:-3], (1, 2, 3)) - energy_in.mean(1),
        *(side.mean(1) for side in (energy_in, energy_out, energy_in - energy_out, by_cell, change, jump)),
    ]
    return torch.cat([*(_unsided(side) for side in sides), torch.stack(whole, 1)], 1)


def _strips(grid: Tensor, line: int) -> Tensor:
    """The row or column of cells ``line`` from the rim along each side: [N, 4, K, G - 2]."""
    last = grid.shape[2] - 1 - line
    left, right = grid[:, :, 1:-1, line], grid[:, :, 1:-1, last]
    return torch.stack([left, right, grid[:, :, line, 1:-1], grid[:, :, last, 1:-1]], 1)


def _norm(values: Tensor, over: int | tuple[int, ...]) -> Tensor:
    return values.square().mean(over).sqrt()


def _unsided(sides: Tensor) -> Tensor:
    """[N, 4] left, right, top, bottom -> the larger and the smaller of left and right, top, bottom."""
    left, right = sides[:, 0], sides[:, 1]
    return torch.stack([torch.maximum(left, right), torch.minimum(left, right), sides[:, 2], sides[:, 3]], 1)
