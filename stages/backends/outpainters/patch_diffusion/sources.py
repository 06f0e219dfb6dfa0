"""The patch distribution of a photo at one scale: the denoiser's prior of what lies beyond the frame."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.backends.outpainters.patch_diffusion.pyramid import PATCH, Level

SUBJECT_PENALTY = 40.0  # off the log-probability of the subject's patches: large against differences of log-likelihood
FREE_SHARE = 0.15  # of the patches: with fewer outside the subject, its patches carry no penalty
# Shares of the photo's left and right edges that a mask covers: up to the first it is a subject, from the second on scenery.
SPANS = (0.1, 0.16)


@dataclass(frozen=True)
class Sources:
    """Clean patches of the photo and of its mirror image.

    Args:
        patches: [N, 3, P], pixels.
        place: [N, 2], (row, column) of each patch as fractions of the canvas.
        penalty: [N], subtracted from a patch's log-probability.
        grid: (planes, rows, columns), with N as their product.
    """

    patches: Tensor
    place: Tensor
    penalty: Tensor
    grid: tuple[int, int, int]


def collect(level: Level) -> Sources:
    """All patches of the level's photo; those of the subject carry a penalty, unless they are nearly all."""
    photo, subject = _at_least_a_patch(level.photo), _at_least_a_patch(level.subject)
    patches = _patches(photo)
    subject = subject * _isolation(subject)
    salient = F.unfold(torch.cat([subject, subject.flip(3)]), PATCH).mean(1).reshape(-1)  # [N]
    rows, columns = photo.shape[2] - PATCH + 1, photo.shape[3] - PATCH + 1
    return Sources(patches, _places(level, rows, columns), _subject_penalty(salient), (2, rows, columns))


def fine_patches(level: Level, blur: Callable[[Tensor], Tensor]) -> Tensor:
    """Patches [N, 3, P] of the photo less its ``blur``, in the order of ``collect``."""
    photo = _at_least_a_patch(level.photo)
    return _patches(photo - blur(photo))


def _patches(photo: Tensor) -> Tensor:
    """All patches of [1, 3, h, w] and of its mirror image: [N, 3, PATCH * PATCH]."""
    planes = torch.cat([photo, photo.flip(3)])
    return F.unfold(planes, PATCH).transpose(1, 2).reshape(-1, 3, PATCH * PATCH)


def _at_least_a_patch(image: Tensor) -> Tensor:
    """Photos narrower than a patch, with their last row or column repeated."""
    down, right = max(0, PATCH - image.shape[2]), max(0, PATCH - image.shape[3])
    return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image


def _isolation(subject: Tensor) -> Tensor:
    """1 for a subject within the photo, 0 for one that spans it from left to right, such as hills, which may continue."""
    mask = (subject[0, 0] > 0.5).float()
    span = torch.minimum(mask[:, 0].mean(), mask[:, -1].mean())
    return ((SPANS[1] - span) / (SPANS[1] - SPANS[0])).clamp(0, 1)


def _subject_penalty(salient: Tensor) -> Tensor:
    free = salient < 0.2
    if float(free.float().mean()) < FREE_SHARE:
        return torch.zeros_like(salient)
    return SUBJECT_PENALTY * ((salient - 0.1) / 0.3).clamp(0, 1)


def _places(level: Level, rows: int, columns: int) -> Tensor:
    height, width = level.size
    y = (torch.arange(rows) + level.box[1]) / height
    x = (torch.arange(columns) + level.box[0]) / width
    plain = torch.stack([y[:, None].expand(rows, columns), x[None].expand(rows, columns)], -1)
    return torch.cat([plain, plain.flip(1)]).reshape(-1, 2).float()


def rarity(sources: Sources, apart: float) -> Tensor:
    """How little each patch recurs elsewhere in the photo, [N], 0 for the typical patch and rising.

    The mean squared distance to the nearest patch at least ``apart`` (a fraction of the canvas) away, over its median.
    High for a sun, a bee or a lamp; low for grass, sky and a horizon.
    """
    planes = sources.grid[0]
    count = len(sources.patches) // planes
    patches, place = sources.patches[:count].flatten(1), sources.place[:count]
    distance = torch.cdist(patches, patches).square() / patches.shape[1]
    near = torch.cdist(place, place) < apart
    nearest = distance.masked_fill(near, float("inf")).amin(1)
    finite = torch.isfinite(nearest)
    if not bool(finite.any()):
        return torch.zeros_like(sources.penalty)
    typical = nearest[finite].median().clamp_min(1e-3)
    excess = torch.where(finite, nearest / typical - 1, torch.zeros_like(nearest)).clamp(0, 8)
    grid = excess.reshape(1, *sources.grid[1:])
    return torch.cat([grid, grid.flip(2)]).reshape(-1) if planes == 2 else excess
