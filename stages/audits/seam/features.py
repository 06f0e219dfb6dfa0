"""Features of the logistic probe: statistics of one patch in which a painter and a camera tend to differ.

Energies of the bands of the 8x8 cosine transform (sharpness, noise, quantisation), the kurtosis of fine detail, its
correlation of colour with brightness, the step at JPEG's block borders, clipped pixels, and the colour itself.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from stages.audits.seam.patches import Patches

Floats = NDArray[np.float64]
BLOCK = 8  # of JPEG, pixels
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]).T
# Radii in the 8x8 cosine transform between which energies are summed: finer for brightness, where painters differ most.
LUMA_EDGES = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 7.0, 10.0)
CHROMA_EDGES = (0.5, 2.5, 5.5, 10.0)


def features_of(patches: Patches) -> Floats:
    """Statistics of whole patches, float [N, F]."""
    return np.concatenate([_local(patches.pixels), patches.shift / 32.0], axis=1)


def line_features_of(patches: Patches) -> Floats:
    """Features [N, F] of a frame down the middle of a patch: how its halves differ, and the step between them."""
    half = patches.pixels.shape[2] // 2
    left, right = _local(patches.pixels[:, :, :half]), _local(patches.pixels[:, :, half:])
    return np.concatenate([np.abs(left - right), left + right, _steps(patches.pixels, half)], axis=1)


def _local(pixels: NDArray[np.uint8]) -> Floats:
    """pixels: uint8 [N, h, w, 3] -> [N, F]. Band energies ignore what exceeds a multiple of 8 in a side."""
    ycc = pixels.astype(np.float64) @ TO_YCC  # [N, h, w, 3]
    luma = ycc[..., 0]
    fine = luma[:, 1:-1, 1:-1] - (luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]) / 4
    diagonal = (luma[:, :-1, :-1] - luma[:, 1:, :-1] - luma[:, :-1, 1:] + luma[:, 1:, 1:]) / 2
    colour = ycc[:, 1:-1, 1:-1, 1:] - (ycc[:, :-2, 1:-1, 1:] + ycc[:, 2:, 1:-1, 1:]) / 2
    columns = [
        *_bands(luma, LUMA_EDGES),
        *_bands(ycc[..., 1], CHROMA_EDGES),
        *_bands(ycc[..., 2], CHROMA_EDGES),
        np.log(np.median(np.abs(diagonal), axis=(1, 2)) + 0.1),
        np.log(np.abs(diagonal).max(axis=(1, 2)) + 0.1),
        _log_kurtosis(fine),
        *(_correlation(fine, colour[..., channel]) for channel in (0, 1)),
        _block_step(luma),
        ((pixels == 255) | (pixels == 0)).mean(axis=(1, 2, 3)),
        *((ycc.mean(axis=(1, 2)) - [128, 0, 0]) / 64).T,
    ]
    return np.stack(columns, axis=1)


def _bands(plane: Floats, edges: tuple[float, ...]) -> list[Floats]:
    """Log of the mean energy in rings of the 8x8 cosine transform of a plane [N, h, w], one [N] a ring."""
    n, height, width = plane.shape
    rows, columns = height // BLOCK, width // BLOCK
    blocks = plane[:, : rows * BLOCK, : columns * BLOCK].reshape(n, rows, BLOCK, columns, BLOCK)
    power = (dctn(blocks, axes=(2, 4), norm="ortho") ** 2).mean(axis=(1, 3))  # [N, 8, 8]
    radius = np.hypot(*np.mgrid[:BLOCK, :BLOCK])
    rings = [(radius >= low) & (radius < high) for low, high in pairwise(edges)]
    return [np.log(power[:, ring].mean(axis=1) + 0.05) for ring in rings]


def _log_kurtosis(fine: Floats) -> Floats:
    """Log kurtosis of fine detail [N, h, w]: high where detail is rare and strong, as along edges."""
    square = (fine**2).mean(axis=(1, 2))
    result: Floats = np.log(((fine**4).mean(axis=(1, 2)) + 0.1) / (square**2 + 0.1))
    return result


def _correlation(one: Floats, other: Floats) -> Floats:
    """Correlation without means of two planes [N, h, w]; 0 for planes without detail."""
    scale = np.sqrt((one**2).sum(axis=(1, 2)) * (other**2).sum(axis=(1, 2)))
    result: Floats = (one * other).sum(axis=(1, 2)) / (scale + 1.0)
    return result


def _block_step(luma: Floats) -> Floats:
    """Log ratio of the steps at the borders of 8x8 blocks to those beside them; 0 for one block alone."""
    across = np.abs(np.diff(luma, axis=2)).mean(axis=1)  # [N, w - 1]
    if across.shape[1] <= BLOCK:
        return np.zeros(len(luma))
    at = across[:, BLOCK - 1 :: BLOCK].mean(axis=1)
    result: Floats = np.log((at + 0.5) / (across.mean(axis=1) + 0.5))
    return result


def _steps(pixels: NDArray[np.uint8], half: int) -> Floats:
    """Steps of brightness and colour at the middle column beside those around it, [N, 5]."""
    ycc = pixels.astype(np.float64) @ TO_YCC
    steps = np.abs(np.diff(ycc, axis=2)).mean(axis=1)  # [N, w - 1, 3]
    around = np.delete(steps, half - 1, axis=1).mean(axis=1)
    ratio = np.log((steps[:, half - 1] + 0.5) / (around + 0.5))  # [N, 3]
    means = np.log(
        np.abs(ycc[:, :, half - 2 : half].mean(axis=(1, 2)) - ycc[:, :, half : half + 2].mean(axis=(1, 2))) + 0.5
    )
    return np.concatenate([ratio, means[:, :2]], axis=1)
