"""Out-painting with public diffusion checkpoints through diffusers: framing, prompts, loading and one batch at a time."""
