"""The scales above the search, which only copy: each pixel takes its finest detail from where its patch's match lies in the photo.

Notation: H x W is the canvas at full size, h x w the photo on it; gy x gx is the grid of patches of the last searched scale.
"""

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from stages.backends.outpainters.patch_diffusion.matches import unravel
from stages.backends.outpainters.patch_diffusion.pyramid import PATCH, resized
from stages.backends.outpainters.patch_diffusion.scene import Scene
from stages.backends.outpainters.patch_diffusion.search import Carried

# Neighbouring patches cross-fade over a third of their distance: over all of it the detail of two sources that do not agree
# would average to a blur, over nothing the border between them would show.
FEATHER = 1 / 3
BANDS = (
    1.0,
    3.0,
    9.0,
)  # pixels: standard deviations that the error at the frame is split by, and how far each part reaches


def at_full_size(scene: Scene, canvas: Tensor, carried: Carried) -> Tensor:
    """The canvas [1, 3, H, W] of ``scene``, from ``canvas`` [1, 3, *true_size], as it was painted at the scale of ``carried``.

    The coarse canvas is enlarged. What the photo has beyond its own coarse version, enlarged alike, is added at the place of
    each patch's best match, so a photo continued by itself would be restored exactly.
    """
    level = carried.level
    width, height = scene.size
    residual = scene.photo - resized(level.photo, (scene.photo.shape[2], scene.photo.shape[3]))
    planes = torch.cat([residual, residual.flip(3)])  # [2, 3, h, w]
    full = resized(canvas, (height, width)).clone()
    best = unravel(carried.matches[..., 0], carried.sources.grid)  # three of [gy, gx]
    rows = _Axis(height, level.true_size[0], level.grid[0], level.stride, full)
    columns = _Axis(width, level.true_size[1], level.grid[1], level.stride, full)
    for row, row_weight in rows.neighbours():
        for column, column_weight in columns.neighbours():
            plane, source_row, source_column = (one[row][:, column] for one in best)  # each [H, W]
            y = (source_row * rows.factor).round().long() + rows.within(row)[:, None]
            x = (source_column * columns.factor).round().long() + columns.within(column)[None]
            y, x = y.clamp(0, planes.shape[2] - 1), x.clamp(0, planes.shape[3] - 1)
            full += planes[plane, :, y, x].permute(2, 0, 1) * (row_weight[:, None] * column_weight)
    x1, y1, x2, y2 = scene.box
    full += _frame_error(scene.photo - full[:, :, y1:y2, x1:x2], scene)
    full = full.clamp(-1, 1)
    full[:, :, y1:y2, x1:x2] = scene.photo
    return full


def _frame_error(error: Tensor, scene: Scene) -> Tensor:
    """What the copies get wrong at the frame, carried outward from its nearest pixel and fading: [1, 3, H, W].

    error: [1, 3, h, w], photo less copy, inside the frame, where the patches that lie across it say what they would paint. Its
    coarse parts reach further than its fine ones, as they are wrong further out.
    """
    x1, y1, x2, y2 = scene.box
    row, column = torch.arange(scene.size[1]), torch.arange(scene.size[0])
    near_row, near_column = row.clamp(y1, y2 - 1), column.clamp(x1, x2 - 1)
    distance = torch.hypot((row - near_row).float()[:, None], (column - near_column).float()[None])  # [H, W]
    total, finer = torch.zeros(1, 3, len(row), len(column)), error
    for sigma in BANDS:
        coarser = _smooth(error, sigma)
        total += (finer - coarser)[:, :, near_row - y1][..., near_column - x1] * torch.exp(-distance / sigma)
        finer = coarser
    return total + finer[:, :, near_row - y1][..., near_column - x1] * torch.exp(-distance / (2 * BANDS[-1]))


def _smooth(image: Tensor, sigma: float) -> Tensor:
    """[1, 3, h, w] under a Gaussian of ``sigma`` pixels, edges repeated."""
    values = image[0].permute(1, 2, 0).numpy()
    return torch.from_numpy(gaussian_filter(values, (sigma, sigma, 0), mode="nearest")).permute(2, 0, 1)[None]


class _Axis:
    """Rows or columns of the full canvas between the patches of the searched scale.

    factor: full pixels a searched pixel.
    """

    def __init__(self, length: int, searched: int, patches: int, stride: int, like: Tensor) -> None:
        self.factor = length / searched
        self._stride, self._patches = stride, patches
        self._pixel = torch.arange(length, device=like.device)
        centre = ((self._pixel + 0.5) / self.factor - PATCH / 2) / stride  # in patches
        self._before = centre.floor().long()
        share = ((centre - self._before - 0.5) / FEATHER + 0.5).clamp(0, 1)
        self._share = share.to(like.dtype)

    def neighbours(self) -> list[tuple[Tensor, Tensor]]:
        """The patch before and the patch after each pixel [L], and their weights [L], which add up to 1."""
        last = self._patches - 1
        return [
            (self._before.clamp(0, last), 1 - self._share),
            ((self._before + 1).clamp(0, last), self._share),
        ]

    def within(self, patch: Tensor) -> Tensor:
        """How far each pixel [L] lies behind the start of its ``patch`` [L], in full pixels."""
        return self._pixel - (patch * self._stride * self.factor).round().long()
