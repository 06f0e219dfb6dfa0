"""Families of diffusion checkpoints: pipeline class, native size, published settings, licence; all without loading one."""

from dataclasses import dataclass

OPENRAIL = "CreativeML OpenRAIL-M (use restrictions)"
OPENRAIL_PP = "CreativeML Open RAIL++-M (use restrictions)"
SEE_CARD = "see the card of the checkpoint"
FLUX = "FLUX.1 [dev] Non-Commercial License (no commercial use)"


@dataclass(frozen=True)
class Family:
    """Checkpoints of one architecture.

    Args:
        pipeline: the diffusers class that paints.
        accepts: classes that a checkpoint's ``model_index.json`` may name; empty for any.
        denoiser: folder of the denoiser in the checkpoint; empty: ``transformer`` or ``unet``, whichever there is.
        inputs: numbers of input channels of the denoiser (9: made for in-painting, 4: a plain model, 384: FLUX Fill).
        context: width of the text features that the denoiser expects; 0 for any.
        model: hub id of the published checkpoint; empty for none.
        licence: of the published checkpoint.
        side: native square size in pixels.
        num_inference_steps: of the scheduler, as published; None: the recipe must give it.
        guidance_scale: scale of classifier-free guidance, as published; None: the recipe must give it.
        strength: share of the noise schedule that is run, as published.
        multiple: what the sides of a canvas must be multiples of, pixels.
        prompts: which encoder of ``prompts.py`` is used.
        size_gb: of the published checkpoint in 16 bits, about.
    """

    pipeline: str
    accepts: tuple[str, ...]
    denoiser: str
    inputs: tuple[int, ...]
    context: int
    model: str
    licence: str
    side: int
    num_inference_steps: int | None
    guidance_scale: float | None
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
    "sdxl-controlnet-inpaint": Family(
        "StableDiffusionXLControlNetInpaintPipeline",
        ("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline", "StableDiffusionXLControlNetInpaintPipeline"),
        "unet", (4, 9), 2048,
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1", OPENRAIL_PP, 1024, 30, 8.0, 0.99, 64, "clip-pair", 6.9,
    ),
    "sd3-inpaint": Family(
        "StableDiffusion3InpaintPipeline", ("StableDiffusion3Pipeline", "StableDiffusion3InpaintPipeline"), "transformer",
        (16, 33), 4096, "stabilityai/stable-diffusion-3-medium-diffusers", SEE_CARD, 1024, 50, 7.0, 1.0, 16, "sd3", 0.0,
    ),
    "z-image": Family(
        "ZImageInpaintPipeline", ("ZImagePipeline", "ZImageInpaintPipeline"), "transformer", (16,), 0,
        "Tongyi-MAI/Z-Image-Turbo", SEE_CARD, 1024, 8, 0.0, 1.0, 16, "text", 0.0,
    ),
    "auto": Family("AutoPipelineForInpainting", (), "", (), 0, "", SEE_CARD, 1024, None, None, 1.0, 64, "text", 0.0),
}  # fmt: skip
