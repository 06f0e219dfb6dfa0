"""LoRA weights, added into a pipeline's own, so that steps cost what they did and no further library is needed.

Hu et al., "LoRA: low-rank adaptation of large language models", 2021, section 4.1: W + (alpha / rank) B A.
"""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import files_of, loading
from stages.backends.outpainters.diffusion.pipeline_types import Pipeline

# (down, up) suffixes after diffusers has brought the file to its own names, of which it has had several.
PAIRS = ((".lora_A.weight", ".lora_B.weight"), (".down.weight", ".up.weight"))
_OLD = re.compile(r"(\.processor)?\.to_(q|k|v|out)_lora$")


def add_lora(pipe: Pipeline, where: Path, scale: float) -> int:
    """Add LoRA weights into the pipeline's own; returns how many layers changed.

    Raises ModelError when there are none, or one for a layer that the pipeline lacks or has at another size.

    Args:
        pipe: whose weights are changed.
        where: folder or file, with diffusers', PEFT's or kohya's names.
        scale: factor of the added weights.
    """
    file = where if where.is_file() else next((path for path in files_of(where) if path.suffix == ".safetensors"), None)
    if file is None:
        raise ModelError(f"no LoRA in '{where}': give a .safetensors file or a folder with one")
    with loading(f"the LoRA '{file}'"):
        weights, alphas = _state_of(pipe, file)
    changed = 0
    for name, down in weights.items():
        for first, second in PAIRS:
            if name.endswith(first):
                base = name.removesuffix(first)
                known = {f"{base}.alpha", f"{name}.alpha"} & set(alphas)
                alpha = float(alphas[known.pop()]) if known else down.shape[0]
                layer = layer_name(base)
                _add(_layer(pipe, layer, file), weights[base + second], down, alpha / down.shape[0] * scale, layer)
                changed += 1
    if not changed:
        raise ModelError(f"the LoRA '{file}' has no pair of weights that this pipeline knows")
    return changed


def _state_of(pipe: Pipeline, file: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights and alphas by diffusers' names; pipelines of some families return no alphas."""
    state = pipe.lora_state_dict(str(file.parent), weight_name=file.name, local_files_only=True)
    weights, alphas = state if isinstance(state, tuple) else (state, None)
    return weights, alphas or {}


def layer_name(base: str) -> str:
    """The layer that a pair of weights belongs to, as the pipeline names it."""
    old = _OLD.search(base)
    if old is None:
        return base.removesuffix(".lora").removesuffix(".lora_linear_layer")
    stem, which = base[: old.start()], old.group(2)
    if stem.endswith("self_attn"):  # of a text encoder
        return f"{stem}.{which}_proj"
    return f"{stem}.to_{which}" + (".0" if which == "out" else "")


def _layer(pipe: Pipeline, name: str, file: Path) -> nn.Module:
    part, _, inner = name.partition(".")
    try:
        layer: nn.Module = getattr(pipe, part).get_submodule(inner)
    except AttributeError as error:
        raise ModelError(f"the LoRA '{file}' is for another model: this one has no layer '{name}'") from error
    return layer


def _add(layer: nn.Module, up: Tensor, down: Tensor, factor: float, name: str) -> None:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    delta = torch.einsum("or,r...->o...", up.flatten(1).float(), down.float()) * factor
    if delta.numel() != weight.numel() or delta.shape[0] != weight.shape[0]:
        raise ModelError(f"the LoRA's layer '{name}' is {list(delta.shape)}, the model's {list(weight.shape)}")
    with torch.no_grad():
        weight.copy_((weight.float() + delta.reshape(weight.shape)).to(weight.dtype))
