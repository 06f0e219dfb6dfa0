"""The finest detail of a canvas, copied from the best matches instead of averaged over overlapping patches.

An average of patches that do not quite agree loses what is finest, and the loss of contrast beyond the frame is what
gives a painted border away. So the canvas keeps its coarse part, and takes its fine part from the photo.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.backends.outpainters.patch_diffusion.patches import PatchGrid
from stages.backends.outpainters.patch_diffusion.pyramid import Level
from stages.backends.outpainters.patch_diffusion.sources import fine_patches

RADIUS = 1.0
# The power of the window that patches are blended with: high, so that each pixel is nearly one patch's alone.
SHARPNESS = 8.0


def with_detail(canvas: Tensor, level: Level, grid: PatchGrid, best: Tensor) -> Tensor:
    """The canvas [1, 3, *true_size] with its fine part from the sources ``best`` [A], one an active patch."""
    full = level.fitted(canvas)
    patches = fine_patches(level, blurred)[best]
    detail = grid.blend(patches, torch.zeros_like(full), sharpness=SHARPNESS)
    out = torch.where(level.known() > 0, level.canvas(), blurred(full) + detail).clamp(-1, 1)
    return out[:, :, : level.true_size[0], : level.true_size[1]]


def blurred(image: Tensor) -> Tensor:
    """[B, 3, H, W] under a Gaussian of ``RADIUS`` pixels, edges repeated."""
    reach = round(2.5 * RADIUS)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / RADIUS) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.transpose(2, 3), groups=3)
