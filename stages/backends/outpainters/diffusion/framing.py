"""Inputs of an in-painting model: the photo in its place at the model's size, a mask of what to paint, and regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.backends.base.protocols import Image as Pixels
from stages.backends.base.protocols import PaintRequest

Size = tuple[int, int]


@dataclass(frozen=True)
class Framed:
    """A canvas at the model's size, H x W.

    Args:
        image: uint8 [H, W, 3], the photo with its edge pixels repeated outward.
        mask: uint8 [H, W], 255 where to paint, else 0.
        control: uint8 [H, W, 3], the photo's regions as colours, with their edge pixels repeated outward; None without regions.
    """

    image: Pixels
    mask: NDArray[np.uint8]
    control: Pixels | None


def buckets(side: int, multiple: int, aspects: Sequence[float]) -> list[Size]:
    """(width, height) of about ``side`` squared pixels for each aspect ratio, in whole multiples; sorted, each once."""
    sizes = set()
    for aspect in aspects:
        width, height = side * aspect**0.5, side / aspect**0.5
        sizes.add((_rounded(width, multiple), _rounded(height, multiple)))
    return sorted(sizes)


def _rounded(length: float, multiple: int) -> int:
    return max(multiple, round(length / multiple) * multiple)


def bucket_of(size: Size, known: Sequence[Size]) -> Size:
    """The bucket whose aspect ratio is nearest to the canvas's; of equals the first."""
    aspect = size[0] / size[1]
    return min(known, key=lambda bucket: abs(np.log(bucket[0] / bucket[1] / aspect)))


def framed(request: PaintRequest, size: Size, overlap: int) -> Framed:
    """The request at the model's size.

    The canvas is stretched to ``size``, by a few percent where their aspects differ, and resized back after painting.

    Args:
        request: the canvas and its photo.
        size: (width, height) in pixels.
        overlap: width in pixels of the photo's border that may be painted anew.
    """
    x1, y1, x2, y2 = scaled_box(request, size)
    photo = np.asarray(Image.fromarray(request.photo).resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS))
    pad = ((y1, size[1] - y2), (x1, size[0] - x2))
    image = np.pad(photo, (*pad, (0, 0)), mode="edge")
    mask = np.full((size[1], size[0]), 255, np.uint8)
    top, left = (overlap if edge > 0 else 0 for edge in (y1, x1))
    bottom, right = (overlap if edge < end else 0 for edge, end in ((y2, size[1]), (x2, size[0])))
    mask[y1 + top : max(y1 + top, y2 - bottom), x1 + left : max(x1 + left, x2 - right)] = 0
    control = None
    if request.regions is not None:
        labels = Image.fromarray(request.regions.astype(np.int32))
        small = np.asarray(labels.resize((x2 - x1, y2 - y1), Image.Resampling.NEAREST))
        control = coloured(np.pad(small, pad, mode="edge"))
    return Framed(image, mask, control)


def scaled_box(request: PaintRequest, size: Size) -> tuple[int, int, int, int]:
    """The photo's rectangle at ``size``, at least a pixel wide and high."""
    fx, fy = size[0] / request.size[0], size[1] / request.size[1]
    x1, y1, x2, y2 = request.box_px
    left, top = min(round(x1 * fx), size[0] - 1), min(round(y1 * fy), size[1] - 1)
    return left, top, max(left + 1, min(size[0], round(x2 * fx))), max(top + 1, min(size[1], round(y2 * fy)))


def coloured(labels: NDArray[np.int32]) -> Pixels:
    """A label map [H, W] as colours [H, W, 3], each label its own, as ControlNets for segmentation expect; 0 is black.

    Regions are extended beyond the frame by their nearest pixels (our choice; the paper does not state one).
    """
    values = labels.astype(np.uint32) * np.uint32(2654435761)  # Knuth's multiplicative hash: neighbours differ clearly
    out = np.stack([(values >> shift).astype(np.uint8) for shift in (24, 16, 8)], axis=-1)
    return np.where(labels[..., None] == 0, np.uint8(0), out)
