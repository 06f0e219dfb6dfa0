"""Exact patch diffusion: out-painting by a diffusion sampler whose denoiser is computed, not learned."""

from stages.backends.patch_diffusion.pipeline import PatchDiffusionPipeline

__all__ = ["PatchDiffusionPipeline"]
