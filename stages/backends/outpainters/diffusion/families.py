"""What is known of each family of checkpoints without loading one: pipeline class, native size, published settings, licence."""

from dataclasses import dataclass

OPENRAIL = "CreativeML OpenRAIL-M (use restrictions)"
OPENRAIL_PP = "CreativeML Open RAIL++-M (use restrictions)"
FLUX = "FLUX.1 [dev] Non-Commercial License (no commercial use)"


@dataclass(frozen=True)
class Family:
    """pipeline: class of diffusers that paints. accepts: classes that a checkpoint's index may name.

    denoiser: its folder in the checkpoint; inputs: its input channels (9: made for in-painting, 4: a plain model, 384: FLUX
    Fill); context: width of the text features it expects, 0 for any. model: the hub id of the published checkpoint.
    side, multiple: native square size, and what sides are multiples of. steps, guidance, strength: as published.
    prompts: which function of ``prompts.py`` encodes. size_gb: of the published checkpoint in 16 bits, about.
    """

    pipeline: str
    accepts: tuple[str, ...]
    denoiser: str
    inputs: tuple[int, ...]
    context: int
    model: str
    licence: str
    side: int
    steps: int
    guidance: float
    strength: float
    multiple: int
    prompts: str
    size_gb: float


FAMILIES = {
    "sd15-inpaint": Family(
        "StableDiffusionInpaintPipeline", ("StableDiffusionInpaintPipeline",), "unet", (9,), 768,
        "stable-diffusion-v1-5/stable-diffusion-inpainting", OPENRAIL, 512, 50, 7.5, 1.0, 64, "clip", 2.1,
    ),
    "sd2-inpaint": Family(
        "StableDiffusionInpaintPipeline", ("StableDiffusionInpaintPipeline",), "unet", (9,), 1024,
        "sd2-community/stable-diffusion-2-inpainting", OPENRAIL_PP, 512, 50, 4.0, 1.0, 64, "clip", 2.6,
    ),
    "sdxl-inpaint": Family(
        "StableDiffusionXLInpaintPipeline", ("StableDiffusionXLInpaintPipeline",), "unet", (9,), 2048,
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1", OPENRAIL_PP, 1024, 30, 8.0, 0.99, 64, "clip-pair", 6.9,
    ),
    "flux-fill": Family(
        "FluxFillPipeline", ("FluxFillPipeline",), "transformer", (384,), 4096,
        "black-forest-labs/FLUX.1-Fill-dev", FLUX, 1024, 28, 30.0, 1.0, 16, "flux", 33.7,
    ),
    "controlnet-inpaint": Family(
        "StableDiffusionControlNetInpaintPipeline",
        ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionControlNetInpaintPipeline"),
        "unet", (4, 9), 768,
        "stable-diffusion-v1-5/stable-diffusion-inpainting", OPENRAIL, 512, 30, 7.5, 1.0, 64, "clip", 2.8,
    ),
}  # fmt: skip
