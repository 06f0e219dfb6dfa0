"""Loading a checkpoint in diffusers' layout: checked against its family, configured, and moved to its device."""

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from pipeline.core.errors import ModelError, UsageError
from stages.backends.base.checkpoint_files import loading, locate, pretrained, read_config
from stages.backends.outpainters.diffusion.backend import DiffusionSettings
from stages.backends.outpainters.diffusion.lora import add_lora
from stages.backends.outpainters.diffusion.pipeline_types import Pipeline, Scheduler

INDEX = "model_index.json"
# Older versions of diffusers' from_pretrained know the argument as torch_dtype, newer ones warn of that name.
DTYPE = "dtype" if hasattr(diffusers.utils.deprecation_utils, "_resolve_dtype") else "torch_dtype"

diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()


def load_pipeline(settings: DiffusionSettings, device: str) -> Pipeline:
    """The pipeline of a recipe, silent and in inference mode. Raises ModelError for a checkpoint of another family or a bad one."""
    folder = locate(settings.model, settings.revision)
    check_family(folder, settings)
    dtype = getattr(torch, settings.dtype)
    options: dict[str, object] = {DTYPE: dtype, **({"variant": settings.variant} if settings.variant else {})}
    parts = _text_encoders(folder, dtype, settings.variant)
    if "safety_checker" in read_config(folder, INDEX):
        parts |= {"safety_checker": None, "requires_safety_checker": False}  # ``safety.py`` checks every family alike
    if "StableDiffusionXL" in str(read_config(folder, INDEX).get("_class_name")):
        parts["add_watermarker"] = False  # else it depends on whether another package happens to be installed
    if controlnet := getattr(settings, "controlnet", ""):
        where = locate(controlnet)
        with loading(f"the ControlNet in '{where}'"):
            network: Any = diffusers.ControlNetModel
            parts["controlnet"] = network.from_pretrained(where, **{DTYPE: dtype})
    with loading(f"the checkpoint in '{folder}'"):
        pipe: Pipeline = getattr(diffusers, settings.family.pipeline).from_pretrained(folder, **options, **parts)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = _scheduler(pipe, settings)
    if settings.lora:
        add_lora(pipe, locate(settings.lora), settings.lora_scale)
    _configure(pipe, settings)
    return _placed(pipe, settings, device)


def check_family(folder: Path, settings: DiffusionSettings) -> None:
    """Raise ModelError when a checkpoint is of another family than the recipe says, from its configurations alone."""
    family, kind = settings.family, settings.kind
    if not family.accepts:
        return
    class_name = read_config(folder, INDEX).get("_class_name")
    if class_name not in family.accepts:
        raise ModelError(
            f"'{folder}' is a {class_name}; models.outpainter '{kind}' wants {' or '.join(family.accepts)}"
        )
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


def _text_encoders(folder: Path, dtype: torch.dtype, variant: str) -> dict[str, object]:
    """Text encoders by their name in the index, loaded by transformers, each with all its weights."""
    parts: dict[str, object] = {}
    for name, about in read_config(folder, INDEX).items():
        if isinstance(about, list) and about[0] == "transformers" and name.startswith("text_encoder"):
            kind = getattr(transformers, str(about[1]), None)
            if kind is None:
                raise ModelError(
                    f"'{folder}' wants a transformers.{about[1]}, which this version of transformers lacks"
                )
            own_variant = variant if variant and list((folder / name).glob(f"*.{variant}.*")) else ""
            parts[name] = pretrained(kind, folder / name, f"the {name}", dtype=dtype, variant=own_variant)
    return parts


def _scheduler(pipe: Pipeline, settings: DiffusionSettings) -> Scheduler:
    if not settings.scheduler and not settings.scheduler_options:
        return pipe.scheduler
    kind = getattr(diffusers, settings.scheduler, None) if settings.scheduler else type(pipe.scheduler)
    known = sorted(each.__name__ for each in pipe.scheduler.compatibles)
    if kind is None or kind.__name__ not in [*known, type(pipe.scheduler).__name__]:
        raise UsageError(
            f"models.outpainter.scheduler '{settings.scheduler}': this checkpoint works with {', '.join(known)}"
        )
    return kind.from_config(pipe.scheduler.config, **settings.scheduler_options)


def _denoiser(pipe: Pipeline, settings: DiffusionSettings) -> str:
    return settings.family.denoiser or ("transformer" if hasattr(pipe, "transformer") else "unet")


def _configure(pipe: Pipeline, settings: DiffusionSettings) -> None:
    if settings.vae_slicing:
        pipe.vae.enable_slicing()
    if settings.vae_tiling:
        pipe.vae.enable_tiling()
    denoiser = getattr(pipe, _denoiser(pipe, settings))
    if settings.attention == "sliced":
        pipe.enable_attention_slicing()
    elif settings.attention == "xformers":
        pipe.enable_xformers_memory_efficient_attention()
    elif settings.attention != "sdpa":
        denoiser.set_attention_backend(settings.attention)
    if settings.channels_last:
        for module in (denoiser, pipe.vae):
            module.to(memory_format=torch.channels_last)


def _placed(pipe: Pipeline, settings: DiffusionSettings, device: str) -> Pipeline:
    if settings.enable_model_cpu_offload or settings.enable_sequential_cpu_offload:
        kind = "model" if settings.enable_model_cpu_offload else "sequential"
        if device == "cpu":
            raise UsageError(
                f"models.outpainter.enable_{kind}_cpu_offload needs a CUDA device; without one leave it out"
            )
        offload = pipe.enable_model_cpu_offload if kind == "model" else pipe.enable_sequential_cpu_offload
        offload(device=device)
    else:
        pipe.to(device)
    if settings.compile != "none":
        name = _denoiser(pipe, settings)
        setattr(pipe, name, torch.compile(getattr(pipe, name), mode=settings.compile))
        pipe.vae.decode = torch.compile(pipe.vae.decode, mode=settings.compile)
    return pipe
