"""Exact patch diffusion: out-painting by a diffusion sampler whose denoiser is computed from the photo, not learned.

Notation of all modules here:

- H, W: height and width of a canvas in pixels at one scale; h, w: those of the photo on it.
- P: pixels of a patch, ``PATCH`` squared. G: patches of a canvas's grid, gy rows and gx columns. A: active patches of the
  grid, those with at least one unknown pixel.
- N: sources, the patches of the photo and of its mirror image (planes x rows x columns). K: candidate sources of a patch.
- Q: queries, the noisy patches of one call of the denoiser. U: unknown pixels. S: segments of the photo's outline.

Pixels are in -1..1, noise ``sigma`` is in the same unit, and places are (row, column) as fractions of the canvas.
"""
