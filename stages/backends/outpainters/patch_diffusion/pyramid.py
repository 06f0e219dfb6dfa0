"""The scales of one canvas, coarse to fine, and the known pixels at each."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from pipeline.core.geometry import BoxPx
from stages.backends.outpainters.patch_diffusion.scene import Scene

PATCH = 7  # pixels, a side: the size that patch-based synthesis commonly uses
RATIO = 1.41  # between scales: the square root of two, so that pixels double


@dataclass(frozen=True)
class Level:
    """A canvas at one scale.

    Args:
        photo: [1, 3, h, w] in -1..1, at the size of ``box``.
        subject: [1, 1, h, w] in 0..1.
        box: of the photo, in pixels of this scale.
        true_size: (H, W) of the canvas at this scale.
        stride: pixels between patches.
    """

    photo: Tensor
    subject: Tensor
    box: BoxPx
    true_size: tuple[int, int]
    stride: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) painted: up to ``stride - 1`` more at bottom and right, so that patches cover the canvas."""
        height, width = (self._covered(n) for n in self.true_size)
        return height, width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches, one every ``stride`` pixels."""
        return (self.size[0] - PATCH) // self.stride + 1, (self.size[1] - PATCH) // self.stride + 1

    def canvas(self) -> Tensor:
        """The photo in its place on zeros [1, 3, H, W]."""
        return self._placed(self.photo)

    def known(self) -> Tensor:
        """1 inside the photo's rectangle, else 0: [1, 1, H, W]."""
        return self._placed(self.photo.new_ones(1, 1, *self.photo.shape[2:]))

    def fitted(self, image: Tensor) -> Tensor:
        """A canvas of another scale [1, C, *, *] at this one's ``size``: [1, C, H, W]."""
        down, right = self.size[0] - self.true_size[0], self.size[1] - self.true_size[1]
        return F.pad(resized(image, self.true_size), (0, right, 0, down), mode="replicate")

    def _covered(self, length: int) -> int:
        return PATCH + math.ceil(max(length - PATCH, 0) / self.stride) * self.stride

    def _placed(self, image: Tensor) -> Tensor:
        x1, y1, x2, y2 = self.box
        return F.pad(image, (x1, self.size[1] - x2, y1, self.size[0] - y2))


def shrunk(scene: Scene, max_side: int) -> Scene:
    """The scene with a long side of at most ``max_side`` pixels."""
    scale = max_side / max(scene.size)
    if scale >= 1:
        return scene
    width, height = (max(1, round(n * scale)) for n in scene.size)
    x1, x2 = (round(x * width / scene.size[0]) for x in scene.box[::2])
    y1, y2 = (round(y * height / scene.size[1]) for y in scene.box[1::2])
    box = (min(x1, width - 1), min(y1, height - 1), max(x2, x1 + 1), max(y2, y1 + 1))
    size = (box[3] - box[1], box[2] - box[0])
    return Scene(resized(scene.photo, size), resized(scene.subject, size), box, (width, height))


def scales(scene: Scene, coarsest: float) -> list[float]:
    """Fractions of the full size, ascending to 1.0, about ``RATIO`` apart.

    The coarsest has a long side of ``coarsest`` pixels, or more where the photo would hold too few patches.
    """
    x1, y1, x2, y2 = scene.box
    first = min(1.0, max(coarsest / max(scene.size), (PATCH + 3) / min(x2 - x1, y2 - y1)))
    steps = math.ceil(math.log(1 / first) / math.log(RATIO) - 1e-6)
    return [first ** (1 - i / steps) for i in range(steps)] + [1.0] if steps > 0 else [1.0]


def level(scene: Scene, scale: float, stride: int) -> Level:
    """The scene shrunk to ``scale``."""
    width, height = (max(1, round(n * scale)) for n in scene.size)
    x1, x2 = _span(scene.box[0], scene.box[2], scene.size[0], width)
    y1, y2 = _span(scene.box[1], scene.box[3], scene.size[1], height)
    photo, subject = (resized(image, (y2 - y1, x2 - x1)) for image in (scene.photo, scene.subject))
    return Level(photo, subject, (x1, y1, x2, y2), (height, width), stride)


def _span(start: int, end: int, full: int, length: int) -> tuple[int, int]:
    """The span of a photo's rows or columns at another scale: at least one, and borders are kept where they fit."""
    first = max(round(start * length / full), min(start, 1))
    last = min(round(end * length / full), length - min(full - end, 1))
    first = min(first, length - 1)
    return first, max(first + 1, last)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[1, C, h, w] -> [1, C, *size]: antialiased bilinear when it shrinks, bicubic when it grows."""
    if tuple(image.shape[2:]) == size:
        return image
    if size[0] * size[1] <= image.shape[2] * image.shape[3]:
        return F.interpolate(image, size=size, mode="bilinear", antialias=True)
    return F.interpolate(image, size=size, mode="bicubic").clamp(-1, 1)
