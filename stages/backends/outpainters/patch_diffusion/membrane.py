"""Seamless colour: the error of the estimate at the frame is subtracted beyond it, fading with distance.

A membrane over the unknown pixels with the error at the frame as boundary values, in closed form: mean-value
interpolation (Farbman et al., "Coordinates for instant image cloning", 2009) reduced to inverse cubed distances.
"""

import torch
from torch import Tensor

from stages.backends.outpainters.patch_diffusion.pyramid import Level

SEGMENTS = 160  # means of the outline, which bound the kernel [U, S] at any size of canvas


class Membrane:
    """Extends values on the photo's outermost pixels over the canvas of one level.

    Args:
        level: the canvas.
        reach: distance at which the extension has faded to 1 / e, as a fraction of the long side; None never fades.
    """

    def __init__(self, level: Level, reach: float | None = None) -> None:
        height, width = level.size
        self.shape = (height, width)
        self.ring = _ring(level)
        self.unknown = (level.known().reshape(-1) == 0).nonzero()[:, 0]
        self.segment = torch.arange(len(self.ring)) * min(SEGMENTS, len(self.ring)) // len(self.ring)
        ring = self._mean(torch.stack([self.ring // width, self.ring % width], 1).float())
        target = torch.stack([self.unknown // width, self.unknown % width], 1).float()
        distance = torch.cdist(target, ring)  # [U, S]
        kernel = (distance + 0.5).pow(-3)
        kernel /= kernel.sum(1, keepdim=True)
        if reach is not None:
            kernel *= torch.exp(-distance.amin(1, keepdim=True) / (reach * max(self.shape)))
        self.kernel = kernel

    def _mean(self, values: Tensor) -> Tensor:
        """Ring values [R, C] -> means of its segments [S, C]."""
        count = int(self.segment[-1]) + 1
        total = values.new_zeros(count, values.shape[1]).index_add_(0, self.segment, values)
        return total / torch.bincount(self.segment, minlength=count)[:, None]

    def extend(self, image: Tensor) -> Tensor:
        """The ring's pixels of ``image`` [1, 3, H, W] extended over the unknown pixels; 0 in the photo."""
        out = torch.zeros(3, self.shape[0] * self.shape[1])
        out[:, self.unknown] = (self.kernel @ self._mean(image.reshape(3, -1)[:, self.ring].T)).T
        return out.reshape(1, 3, *self.shape)


def _ring(level: Level) -> Tensor:
    """Flat indices of the photo's pixels beside unknown ones, in order along each side."""
    height, width = level.size
    x1, y1, x2, y2 = level.box
    rows, columns = torch.arange(y1, y2), torch.arange(x1, x2)
    sides = []
    if y1 > 0:
        sides.append(y1 * width + columns)
    if x2 < width:
        sides.append(rows * width + x2 - 1)
    if y2 < height:
        sides.append((y2 - 1) * width + columns)
    if x1 > 0:
        sides.append(rows * width + x1)
    return torch.cat(sides) if sides else torch.zeros(0, dtype=torch.long)
