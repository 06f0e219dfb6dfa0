"""Heads of aesthetic scorers, read from the files that their authors published."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.core.errors import ModelError


def linear_chain(state: Mapping[str, Tensor], origin: str) -> nn.Sequential:
    """Linear layers one after another, in the order of the numbers in their names: LAION's and SigLIP's heads have nothing
    between them but dropout. Raises ModelError when the layers do not fit one another.
    """
    names = sorted((n for n in state if n.endswith("weight")), key=lambda n: [int(d) for d in re.findall(r"\d+", n)])
    layers: list[nn.Module] = []
    for name in names:
        weight, bias = state[name], state.get(f"{name.removesuffix('weight')}bias")
        if weight.ndim != 2 or bias is None or len(bias) != len(weight):
            raise ModelError(
                f"the head '{origin}' has a layer '{name}' that is not linear: it is of another architecture"
            )
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(weight.float(), False), nn.Parameter(bias.float(), False)
        if layers and layers[-1].out_features != layer.in_features:
            raise ModelError(f"the head '{origin}': '{name}' takes {layer.in_features}, not {layers[-1].out_features}")
        layers.append(layer)
    if not layers:
        raise ModelError(f"the head '{origin}' has no layers")
    return nn.Sequential(*layers).eval()


def mean_of_distribution(logits: Tensor) -> Tensor:
    """Logits [B, n] of scores 1 to n -> their mean [B]."""
    values = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    return torch.softmax(logits, dim=-1) @ values
