"""The optimiser of a run and its learning rates."""

from typing import Any

import torch

from procrop_model.network.crop_network import CropNetwork
from procrop_model.training.config import TrainConfig
from procrop_model.training.schedules import cosine_with_warmup, in_steps


def make_optimiser(network: CropNetwork, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what learns; the backbone, where it does, at a rate of its own."""
    backbone = [p for p in network.extractor.backbone.parameters() if p.requires_grad]
    slow = {id(p) for p in backbone}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in slow]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": config.learning_rate, "base": config.learning_rate}]
    if backbone:
        groups.append({"params": backbone, "lr": config.backbone_rate, "base": config.backbone_rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def set_rate(optimiser: Any, step: int, total: int, config: TrainConfig) -> float:
    """Sets the learning rates of a step and gives the factor on them."""
    if config.schedule == "step":
        rate = in_steps(step, total, config.warmup, config.drops)
    else:
        rate = cosine_with_warmup(step, total, config.warmup)
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * rate
    return rate
