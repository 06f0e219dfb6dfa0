"""A content-aware baseline in the manner of the well-known "smartcrop" scripts: energy of edges, skin tones and saturated colours,
searched over windows of the picture's own aspect. Our own small implementation, with constants of our own: a name for a family of
methods, not a measurement of any one program.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

ANALYSED, GRID = 128, 32  # long sides: where features are computed, and where windows are searched
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
WEIGHTS = {"edge": 0.2, "skin": 1.8, "saturation": 0.3}
SKIN = np.array([0.78, 0.57, 0.44], np.float32)
OUTSIDE = -0.5


def smartcrop_box(image: Pixels) -> tuple[float, float, float, float]:
    """The window of highest energy of a picture uint8 [H, W, 3], in pixels; among equal ones the first, largest first."""
    height, width = image.shape[:2]
    energy = _energy(image)
    rows, columns = energy.shape
    norm, weights = _windows(rows, columns)
    best = norm[int(np.argmax(weights @ energy.ravel()))]
    return (best[0] * width, best[1] * height, best[2] * width, best[3] * height)


def _energy(image: Pixels) -> Floats:
    """Energy of each cell, [h, w] with a long side of at most GRID."""
    small = np.asarray(_resized(Image.fromarray(image), ANALYSED), np.float32) / 255
    luma = small @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    padded = np.pad(luma, 1, mode="edge")
    edge = np.abs(4 * luma - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:])
    unit = small / np.maximum(np.linalg.norm(small, axis=2, keepdims=True), 1e-6)
    likeness = 1 - np.linalg.norm(unit - SKIN / np.linalg.norm(SKIN), axis=2)
    skin = np.clip((likeness - 0.8) / 0.2, 0, 1) * ((luma > 0.2) & (luma < 0.95))
    high, low = small.max(2), small.min(2)
    colour = (high - low) / np.maximum(high, 1e-6)
    saturation = np.clip((colour - 0.4) / 0.6, 0, 1) * ((luma > 0.05) & (luma < 0.9))
    total = WEIGHTS["edge"] * edge + WEIGHTS["skin"] * skin + WEIGHTS["saturation"] * saturation
    return np.asarray(_resized(Image.fromarray(total.astype(np.float32)), GRID), np.float32)


def _resized(image: Image.Image, side: int) -> Image.Image:
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX)


@lru_cache(maxsize=64)
def _windows(rows: int, columns: int) -> tuple[NDArray[np.float64], Floats]:
    """Windows [N, 4] in 0..1 and what each makes of the cells' energy, [N, rows * columns], per area of the window.

    A cell counts more near the window's thirds, less near its border, and against the window when it is left outside.
    """
    y, x = (np.arange(rows) + 0.5)[:, None], (np.arange(columns) + 0.5)[None, :]
    boxes, weights = [], []
    for scale in SCALES:
        width, height = columns * scale, rows * scale
        for top in np.arange(0, rows - height + 1e-6, max(1.0, rows / 24)):
            for left in np.arange(0, columns - width + 1e-6, max(1.0, columns / 24)):
                u, v = (x - left) / width, (y - top) / height
                inside = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
                weights.append(np.where(inside, _importance(u, v), OUTSIDE).ravel() / (width * height))
                boxes.append((left / columns, top / rows, (left + width) / columns, (top + height) / rows))
    return np.array(boxes), np.array(weights, np.float32)


def _importance(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of a place in the window, u and v in 0..1: highest at the thirds, falling towards the border."""
    across, down = np.abs(2 * u - 1), np.abs(2 * v - 1)
    border = 10 * (np.maximum(across - 0.8, 0) ** 2 + np.maximum(down - 0.8, 0) ** 2)
    thirds = sum(np.maximum(1 - (6 * (side - 1 / 3)) ** 2, 0) for side in (across, down))
    return np.asarray(1.2 - 0.7 * np.hypot(across, down) - border + 0.4 * thirds)
