"""Small square patches of canvases, by where they lie: in the photo, in the paint, or across the frame between them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.core.geometry import BoxPx
from pipeline.core.seeds import seed_for

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
GRID = 8  # patches start on the 8x8 grid of JPEG, so that its traces are in step with them


@dataclass(frozen=True)
class LabelledCanvas:
    """One canvas to audit.

    Args:
        key: of the canvas.
        photo: key of its photograph.
        pixels: uint8 [H, W, 3].
        inside: bool [H, W], true where the photo is.
    """

    key: str
    photo: str
    pixels: Pixels
    inside: Mask


@dataclass(frozen=True)
class Patches:
    """N patches of side s.

    Args:
        pixels: uint8 [N, s, s, 3].
        target: bool [N], the class that a probe predicts.
        photos: keys [N] of the photographs.
        shift: float32 [N, 3], a patch's mean colour less its canvas's.
        corner: int [N, 2], (x, y) of the top left pixel on the canvas.
        scenes: int [N], number of the canvas.
    """

    pixels: Pixels
    target: Mask
    photos: NDArray[np.str_]
    shift: NDArray[np.float32]
    corner: NDArray[np.int64]
    scenes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.target)


def mask_of(box_px: BoxPx, width: int, height: int) -> Mask:
    """True inside a box, bool [height, width]."""
    mask = np.zeros((height, width), bool)
    mask[box_px[1] : box_px[3], box_px[0] : box_px[2]] = True
    return mask


def sides(scenes: Sequence[LabelledCanvas], side: int, most: int, seed: int) -> Patches:
    """Patches wholly in the photo (target) or wholly in the paint: of each canvas at most ``most`` of either kind, and
    equally many of both, so that recognising a canvas does not help a probe.
    """
    parts = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(seed_for(seed, "seam sides", scene.key))
        filled = _filled(scene.inside, side)[::GRID, ::GRID]
        places = [np.argwhere(filled == value)[:, ::-1] * GRID for value in (1.0, 0.0)]
        count = min(most, *(len(each) for each in places))
        chosen = [_draw(each, count, rng) for each in places]
        parts += [_cut(scene, number, chosen[0], side, True), _cut(scene, number, chosen[1], side, False)]
    return joined(parts, side)


def lines(scenes: Sequence[LabelledCanvas], side: int, most: int, seed: int) -> Patches:
    """Patches with the frame through their middle (target), and as many of the same canvas wholly on one side of it.

    All are rotated so that the frame runs from top to bottom, then mirrored at random, so that the sides carry no cue.
    """
    parts = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(seed_for(seed, "seam lines", scene.key))
        upright = _across(scene.inside, side)
        level = _across(scene.inside.T, side)
        filled = _filled(scene.inside, side)
        whole = np.argwhere((filled == 1) | (filled == 0))[:, ::-1]
        count = min(most, len(whole) // 2, len(upright), len(level)) if len(upright) and len(level) else 0
        count = count or min(most, len(whole) // 2, max(len(upright), len(level)))
        crossing = [(places, turned) for places, turned in ((upright, False), (level[:, ::-1], True)) if len(places)]
        for places, turned in crossing:
            parts.append(_turned(_cut(scene, number, _draw(places, count, rng), side, True), turned, rng))
            parts.append(_turned(_cut(scene, number, _draw(whole, count, rng), side, False), turned, rng))
    return joined(parts, side)


def _filled(mask: Mask, side: int) -> NDArray[np.float64]:
    """Share of true pixels in the patch that starts at each pixel: [H - s + 1, W - s + 1], empty when too small."""
    height, width = mask.shape
    if height < side or width < side:
        return np.zeros((0, 0))
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = mask.astype(np.float64).cumsum(0).cumsum(1)
    sums: NDArray[np.float64] = (
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )
    return sums / side**2


def _across(mask: Mask, side: int) -> NDArray[np.int64]:
    """Corners (x, y) of patches of which one half, left or right, is all true and the other all false."""
    height, width = mask.shape
    half = side // 2
    if height < side or width < side:
        return np.zeros((0, 2), np.int64)
    strips = sliding_window_view(mask, (side, half)).mean(axis=(2, 3))  # [H - s + 1, W - half + 1]
    left, right = strips[:, : width - side + 1], strips[:, half : half + width - side + 1]
    return np.argwhere(((left == 1) & (right == 0)) | ((left == 0) & (right == 1)))[:, ::-1]


def _draw(places: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return places[np.sort(rng.permutation(len(places))[:count])]


def _cut(scene: LabelledCanvas, number: int, corners: NDArray[np.int64], side: int, target: bool) -> Patches:
    windows = sliding_window_view(scene.pixels, (side, side), axis=(0, 1)) if len(corners) else None
    n = len(corners)
    pixels = np.zeros((0, side, side, 3), np.uint8)
    if windows is not None:
        pixels = np.ascontiguousarray(windows[corners[:, 1], corners[:, 0]].transpose(0, 2, 3, 1))
    shift = pixels.reshape(n, -1, 3).mean(axis=1) - scene.pixels.reshape(-1, 3).mean(axis=0) if n else np.zeros((0, 3))
    return Patches(
        pixels=pixels,
        target=np.full(n, target),
        photos=np.full(n, scene.photo),
        shift=shift.astype(np.float32),
        corner=corners.reshape(n, 2),
        scenes=np.full(n, number),
    )


def _turned(patches: Patches, turn: bool, rng: np.random.Generator) -> Patches:
    pixels = patches.pixels.transpose(0, 2, 1, 3) if turn else patches.pixels
    across, along = rng.random((2, len(patches), 1, 1, 1)) < 0.5
    pixels = np.where(across, pixels[:, :, ::-1], pixels)
    pixels = np.where(along, pixels[:, ::-1], pixels)
    return replace(patches, pixels=pixels)


def everywhere(scene: LabelledCanvas, side: int) -> Patches:
    """Every patch of the grid, in the photo or not; their target says whether their middle is."""
    height, width = scene.inside.shape
    places = np.mgrid[0 : height - side + 1 : GRID, 0 : width - side + 1 : GRID].reshape(2, -1).T[:, ::-1]
    patches = _cut(scene, 0, places, side, False)
    middle = places + side // 2
    return replace(patches, target=scene.inside[middle[:, 1], middle[:, 0]])


def joined(parts: Sequence[Patches], side: int) -> Patches:
    """All patches of the parts, in order."""
    if not parts:
        empty = np.zeros(0, bool)
        return Patches(
            np.zeros((0, side, side, 3), np.uint8), empty, empty.astype(str), np.zeros((0, 3), np.float32),
            np.zeros((0, 2), np.int64), np.zeros(0, np.int64),
        )  # fmt: skip
    names = ("pixels", "target", "photos", "shift", "corner", "scenes")
    return Patches(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
