"""Matching the detail of the paint to that of the photo beside it; only the paint changes.

A painter that averages leaves its paint smoother than the photo at every scale. The canvas is split into bands by
Gaussians an octave apart; in each band, the paint's local contrast is raised or lowered so that its quantiles become the
photo's.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIGMAS = (0.6, 1.2, 2.4, 4.8)  # pixels, an octave apart, from the finest detail that survives JPEG
LEAST_GAIN, MOST_GAIN = 0.8, 2.5  # of a band's contrast: more would amplify artefacts of the paint
QUANTILES = np.linspace(0.05, 0.95, 19)  # without the extremes, which few pixels decide
FLOOR = 0.25  # grey levels: contrast below this is rounding, and is not changed

Floats = NDArray[np.float32]


def matched(canvas: Floats, inside: NDArray[np.bool_], strength: float) -> Floats:
    """The canvas float [H, W, 3] with its paint's detail matched; pixels inside ``inside`` bool [H, W] are unchanged.

    Nothing changes when there is no photo or no paint.

    Args:
        canvas: in 0..255.
        inside: where the photo is.
        strength: 0..1, share of the way from the paint's contrast to the photo's, in its logarithm.
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
    """Local root mean square [H, W] of a band, separately in photo and paint, so that nothing leaks across the frame."""
    out = np.zeros_like(band)
    for side in (inside, ~inside):
        weight = side.astype(np.float32)
        energy = gaussian_filter(band**2 * weight, reach, mode="nearest")
        share = gaussian_filter(weight, reach, mode="nearest")
        out[side] = np.sqrt(energy[side] / np.maximum(share[side], 1e-6))
    return out


def _gain(contrast: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Gain [H, W] that gives the paint's contrasts the photo's distribution."""
    paint = np.maximum(np.quantile(contrast[~inside], QUANTILES), FLOOR)
    photo = np.maximum(np.quantile(contrast[inside], QUANTILES), FLOOR)
    log_gain = np.interp(
        np.log(np.maximum(contrast, FLOOR)), np.log(paint) + 1e-6 * np.arange(len(paint)), np.log(photo / paint)
    )
    gain: Floats = np.clip(np.exp(log_gain), LEAST_GAIN, MOST_GAIN).astype(np.float32)
    return gain
