"""From a checkpoint in diffusers' layout to a pipeline that is checked, tuned and on its device."""

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from pipeline.core.errors import ModelError, UsageError
from stages.backends.base.checkpoint_files import loading, locate, pretrained, read_config
from stages.backends.outpainters.diffusion.backend import DiffusionSettings
from stages.backends.outpainters.diffusion.lora import add_lora

INDEX = "model_index.json"
# Its name in diffusers' from_pretrained has changed; the old one warns where the new one is known.
DTYPE = "dtype" if hasattr(diffusers.utils.deprecation_utils, "_resolve_dtype") else "torch_dtype"

diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()


def load_pipeline(settings: DiffusionSettings, device: str) -> Any:
    """The pipeline of a recipe, silent and in inference mode. Raises ModelError for a checkpoint that is not what it should be."""
    folder = locate(settings.model, settings.revision)
    check_family(folder, settings)
    dtype = getattr(torch, settings.dtype)
    options: dict[str, Any] = {DTYPE: dtype, **({"variant": settings.variant} if settings.variant else {})}
    parts = _text_encoders(folder, dtype, settings.variant)
    if "safety_checker" in read_config(folder, INDEX):
        parts |= {"safety_checker": None, "requires_safety_checker": False}  # ``safety.py`` looks at every family alike
    if settings.kind == "sdxl-inpaint":
        parts["add_watermarker"] = False  # else it depends on whether another package happens to be installed
    if controlnet := getattr(settings, "controlnet", ""):
        where = locate(controlnet)
        with loading(f"the ControlNet in '{where}'"):
            kind: Any = diffusers.ControlNetModel
            parts["controlnet"] = kind.from_pretrained(where, **{DTYPE: dtype})
    with loading(f"the checkpoint in '{folder}'"):
        pipe = getattr(diffusers, settings.family.pipeline).from_pretrained(folder, **options, **parts)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = _scheduler(pipe, settings)
    if settings.lora:
        add_lora(pipe, locate(settings.lora), settings.lora_scale)
    _tune(pipe, settings)
    return _placed(pipe, settings, device)


def check_family(folder: Path, settings: DiffusionSettings) -> None:
    """Raise ModelError when a checkpoint is of another family than the recipe says, from its configurations alone."""
    family, kind = settings.family, settings.kind
    found = read_config(folder, INDEX).get("_class_name")
    if found not in family.accepts:
        raise ModelError(f"'{folder}' is a {found}; models.outpainter '{kind}' wants {' or '.join(family.accepts)}")
    config = read_config(folder / family.denoiser, "config.json")
    if config.get("in_channels") not in family.inputs:
        wanted = " or ".join(map(str, family.inputs))
        raise ModelError(
            f"the {family.denoiser} in '{folder}' takes {config.get('in_channels')} channels, '{kind}' {wanted}: "
            "is it a checkpoint made for in-painting?"
        )
    context = config.get("cross_attention_dim", config.get("joint_attention_dim"))
    if family.context and context != family.context:
        raise ModelError(
            f"the {family.denoiser} in '{folder}' reads text features of width {context}, '{kind}' {family.context}: "
            "name the kind that the checkpoint is of"
        )


def _text_encoders(folder: Path, dtype: torch.dtype, variant: str) -> dict[str, Any]:
    """Parts that transformers loads, each with all its weights."""
    parts = {}
    for name, about in read_config(folder, INDEX).items():
        if isinstance(about, list) and about[0] == "transformers" and name.startswith("text_encoder"):
            kind = getattr(transformers, str(about[1]), None)
            if kind is None:
                raise ModelError(
                    f"'{folder}' wants a transformers.{about[1]}, which this version of transformers lacks"
                )
            extra = {"variant": variant} if variant and list((folder / name).glob(f"*.{variant}.*")) else {}
            parts[name] = pretrained(kind, folder / name, f"the {name}", dtype=dtype, **extra)
    return parts


def _scheduler(pipe: Any, settings: DiffusionSettings) -> Any:
    if not settings.scheduler and not settings.scheduler_options:
        return pipe.scheduler
    kind = getattr(diffusers, settings.scheduler, None) if settings.scheduler else type(pipe.scheduler)
    known = sorted(each.__name__ for each in pipe.scheduler.compatibles)
    if kind is None or kind.__name__ not in [*known, type(pipe.scheduler).__name__]:
        raise UsageError(
            f"models.outpainter.scheduler '{settings.scheduler}': this checkpoint works with {', '.join(known)}"
        )
    return kind.from_config(pipe.scheduler.config, **settings.scheduler_options)


def _tune(pipe: Any, settings: DiffusionSettings) -> None:
    if settings.vae_slicing:
        pipe.vae.enable_slicing()
    if settings.vae_tiling:
        pipe.vae.enable_tiling()
    denoiser = getattr(pipe, settings.family.denoiser)
    if settings.attention == "sliced":
        pipe.enable_attention_slicing()
    elif settings.attention == "xformers":
        pipe.enable_xformers_memory_efficient_attention()
    elif settings.attention != "sdpa":
        denoiser.set_attention_backend(settings.attention)
    if settings.channels_last:
        for module in (denoiser, pipe.vae):
            module.to(memory_format=torch.channels_last)


def _placed(pipe: Any, settings: DiffusionSettings, device: str) -> Any:
    if settings.offload != "none":
        if device == "cpu":
            raise UsageError(
                f"models.outpainter.offload '{settings.offload}' needs a CUDA device; without one use none"
            )
        offload = pipe.enable_model_cpu_offload if settings.offload == "model" else pipe.enable_sequential_cpu_offload
        offload(device=device)
    else:
        pipe.to(device)
    if settings.compile != "none":
        name = settings.family.denoiser
        setattr(pipe, name, torch.compile(getattr(pipe, name), mode=settings.compile))
        pipe.vae.decode = torch.compile(pipe.vae.decode, mode=settings.compile)
    return pipe
