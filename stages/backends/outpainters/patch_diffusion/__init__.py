"""Exact patch diffusion: out-painting by a diffusion sampler whose denoiser is computed, not learned."""
