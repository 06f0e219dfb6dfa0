"""A picture for a scorer: pixels that are decoded only on demand, and what was perceived of it before."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from pipeline.core.records import MASK_SIDE

Pixels = NDArray[np.uint8]
MaskGrid = NDArray[np.uint8]
Maps = Mapping[str, NDArray[np.float16]]


class LazyPicture:
    """An image of known size; scorers read of it what they need.

    Args:
        size: (width, height) in pixels.
        load: gives the pixels, uint8 [H, W, 3]; called at most once.
        mask: of the subject by the recipe's segmenter, uint8 [MASK_SIDE, MASK_SIDE]; None where it was not computed.
        maps: what the scorer perceived of it (``Perceiving.perceive``), by name; empty where it did not yet.
    """

    def __init__(
        self, size: tuple[int, int], load: Callable[[], Pixels], mask: MaskGrid | None = None, maps: Maps | None = None
    ) -> None:
        self.size = size
        self.mask = mask
        self.maps: Maps = maps or {}
        self._load = load

    @staticmethod
    def of(image: Pixels) -> "LazyPicture":
        """An image uint8 [H, W, 3] of which nothing was perceived: a scorer computes what it needs."""
        return LazyPicture((image.shape[1], image.shape[0]), lambda: image)

    @cached_property
    def image(self) -> Pixels:
        """The pixels, uint8 [H, W, 3]."""
        return self._load()

    def part(self, prefix: str) -> "LazyPicture":
        """The same picture with only the maps whose name begins with ``prefix``, which is removed: for a member of a scorer."""
        maps = {name.removeprefix(prefix): array for name, array in self.maps.items() if name.startswith(prefix)}
        return LazyPicture(self.size, lambda: self.image, self.mask, maps)


class PackedMaps(Protocol):
    """The columns of ``Perception`` that hold a scorer's maps."""

    @property
    def maps(self) -> bytes: ...
    @property
    def map_names(self) -> Sequence[str]: ...
    @property
    def map_shapes(self) -> Sequence[int]: ...


def mask_grid(mask: NDArray[np.float32]) -> MaskGrid:
    """A soft mask [h, w] in 0..1 as uint8 [MASK_SIDE, MASK_SIDE], each the mean of what it covers."""
    small = Pillow.fromarray(mask).resize((MASK_SIDE, MASK_SIDE), Pillow.Resampling.BOX)
    grid: MaskGrid = np.round(np.clip(np.asarray(small), 0, 1) * 255).astype(np.uint8)
    return grid


def unpack_mask(packed: bytes) -> MaskGrid:
    """The mask of a ``Perception``, uint8 [MASK_SIDE, MASK_SIDE]."""
    return np.frombuffer(packed, np.uint8).reshape(MASK_SIDE, MASK_SIDE)


def soft_mask(grid: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float32]:
    """A mask of whole numbers 0..255 as float32 in 0..1."""
    mask: NDArray[np.float32] = np.asarray(grid, np.float32) / np.float32(255)
    return mask


def pack_maps(maps: Maps) -> tuple[bytes, list[str], list[int]]:
    """Maps fp16 [K, h, w] as bytes, names and shapes, as ``Perception`` stores them."""
    shapes = [side for array in maps.values() for side in array.shape]
    return b"".join(array.tobytes() for array in maps.values()), list(maps), shapes


def unpack_maps(packed: PackedMaps) -> Maps:
    """The inverse of ``pack_maps``."""
    maps, start = {}, 0
    for number, name in enumerate(packed.map_names):
        k, h, w = packed.map_shapes[3 * number : 3 * number + 3]
        maps[name] = np.frombuffer(packed.maps, np.float16, k * h * w, start).reshape(k, h, w)
        start += maps[name].nbytes
    return maps
