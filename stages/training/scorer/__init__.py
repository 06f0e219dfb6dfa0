"""How the composition scorer is taught: photographs, canvases, size-matched pairs, fit, calibration and its report."""
