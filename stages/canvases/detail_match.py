"""Detail of the paint matched to that of the photo beside it: the paint changes, the photo keeps every pixel.

A painter that averages leaves its paint smoother than the photo at every scale. The canvas is split into bands by
Gaussians an octave apart; in each band, the paint's local contrast is raised or lowered so that it is distributed as the
photo's is (its quantiles take the photo's values).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIGMAS = (0.6, 1.2, 2.4, 4.8)
LEAST_GAIN, MOST_GAIN = 0.8, 2.5
QUANTILES = np.linspace(0.05, 0.95, 19)
FLOOR = 0.25  # grey levels: contrast below this is rounding, and is left alone

Floats = NDArray[np.float32]


def matched(canvas: Floats, inside: NDArray[np.bool_], strength: float) -> Floats:
    """The canvas float [H, W, 3] with its paint's detail matched, all inside ``inside`` bool [H, W] unchanged.

    strength: share of the way, in the logarithm of contrast, from the paint's own to the photo's. Nothing changes when
    either side is missing.
    """
    if strength == 0 or inside.all() or not inside.any():
        return canvas
    change = np.zeros_like(canvas)
    finer = canvas
    for sigma in SIGMAS:
        smooth = gaussian_filter(canvas, (sigma, sigma, 0), mode="nearest")
        band = finer - smooth
        contrast = _contrast(band.mean(axis=2), inside, 2 * sigma)
        gain = _gain(contrast, inside) ** np.float32(strength)
        change += band * (gain - 1)[..., None]
        finer = smooth
    return np.where(inside[..., None], canvas, canvas + change)


def _contrast(band: Floats, inside: NDArray[np.bool_], reach: float) -> Floats:
    """Local root mean square [H, W] of a band, each side's own: nothing leaks across the frame."""
    out = np.zeros_like(band)
    for side in (inside, ~inside):
        weight = side.astype(np.float32)
        energy = gaussian_filter(band**2 * weight, reach, mode="nearest")
        share = gaussian_filter(weight, reach, mode="nearest")
        out[side] = np.sqrt(energy[side] / np.maximum(share[side], 1e-6))
    return out


def _gain(contrast: Floats, inside: NDArray[np.bool_]) -> Floats:
    """What brings the paint's contrasts [H, W] to the photo's distribution of them; 1 in the photo."""
    paint = np.maximum(np.quantile(contrast[~inside], QUANTILES), FLOOR)
    photo = np.maximum(np.quantile(contrast[inside], QUANTILES), FLOOR)
    log_gain = np.interp(
        np.log(np.maximum(contrast, FLOOR)), np.log(paint) + 1e-6 * np.arange(len(paint)), np.log(photo / paint)
    )
    gain: Floats = np.clip(np.exp(log_gain), LEAST_GAIN, MOST_GAIN).astype(np.float32)
    return gain
