"""What is known of each family is what the installed diffusers says; pixels are those of its bare call."""

import diffusers
import numpy as np
import pytest
import torch

from stages.backends.outpainters.diffusion.families import FAMILIES
from stages.backends.outpainters.diffusion.framing import framed
from stages.backends.outpainters.diffusion.pipeline_types import PipelineInputs, accepted_inputs
from stages.backends.registry import ModelSettings
from tests import tiny_checkpoints as tiny
from tests.stages.backends.outpainters.diffusion.test_backend import request

CONTROL = {"control_image", "controlnet_conditioning_scale"}
PROMPTS = {
    "clip": {"prompt_embeds", "negative_prompt_embeds"},
    "clip-pair": {"prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"},
    "flux": {"prompt_embeds", "pooled_prompt_embeds"},
    "sd3": {"prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"},
    "text": {"prompt", "negative_prompt"},
}
MAKERS = {"sd3-inpaint": tiny.stable_diffusion_3, "z-image": tiny.z_image, "auto": tiny.stable_diffusion_xl}


@pytest.mark.parametrize("kind", sorted(set(FAMILIES) - {"auto"}))
def test_the_class_of_a_family_takes_what_is_given(kind):
    family = FAMILIES[kind]
    pipeline = getattr(diffusers, family.pipeline)
    given = set(PipelineInputs.__annotations__) - (set() if "controlnet" in kind else CONTROL)
    assert given | PROMPTS[family.prompts] <= accepted_inputs(pipeline.__new__(pipeline))
    assert all(hasattr(diffusers, name) for name in family.accepts)


def test_a_checkpoint_of_any_class_needs_steps_and_guidance():
    given = {"kind": "auto", "model": "somewhere"}
    with pytest.raises(ValueError, match="num_inference_steps"):
        ModelSettings.model_validate({"outpainter": given})
    whole = ModelSettings.model_validate({"outpainter": {**given, "num_inference_steps": 4, "guidance_scale": 1}})
    assert (whole.outpainter.side, whole.outpainter.dtype) == (1024, "bfloat16")


@pytest.mark.parametrize("kind", MAKERS)
def test_pixels_are_those_of_the_bare_call(kind, tmp_path):
    model = MAKERS[kind](tmp_path)
    given = {"model": str(model), "side": 64, "dtype": "float32", "device": "cpu", "batch": 1, "safety": False}
    steps = {"num_inference_steps": 2, "guidance_scale": 0.0 if kind == "z-image" else 4.0, "strength": 1.0}
    settings = ModelSettings.model_validate({"outpainter": {"kind": kind, **given, **steps}}).outpainter
    (ours,) = settings.build().paint([request(1, (64, 64), (20, 10, 50, 50))])
    one = request(1, (64, 64), (20, 10, 50, 50))
    framing = framed(one, (64, 64), settings.overlap)
    pipe = getattr(diffusers, FAMILIES[kind].pipeline).from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    bare = pipe(
        prompt=one.prompt, negative_prompt=one.negative_prompt, height=64, width=64, output_type="pt",
        image=torch.from_numpy(framing.image).permute(2, 0, 1)[None] / 255,
        mask_image=torch.from_numpy(framing.mask)[None, None] / 255, generator=torch.Generator("cpu").manual_seed(1),
        **steps,
    ).images[0]  # fmt: skip
    expected = (bare.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(ours, expected) and expected.std() > 1
