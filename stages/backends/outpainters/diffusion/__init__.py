"""Out-painting with public diffusion checkpoints through diffusers: framing, prompts, loading, and inference in batches.

Notation: B canvases of a batch, H and W height and width in pixels, T tokens and C channels of text features.
"""
