"""Learning rates over a run, and the moving average of weights that is evaluated and saved."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def cosine_with_warmup(step: int, total: int, warmup: float, floor: float = 0.02) -> float:
    """Factor on the learning rate at a step: linear over the first ``warmup`` share, then a cosine down to
    ``floor``.
    """
    first = max(1, round(total * warmup))
    if step < first:
        return (step + 1) / first
    share = (step - first) / max(1, total - first)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def in_steps(step: int, total: int, warmup: float, drops: Sequence[float]) -> float:
    """Factor on the learning rate at a step: linear over the first ``warmup`` share, then 1, and a tenth of what it was after each
    of the shares ``drops``; DETR's schedule has one drop, at 0.8.
    """
    first = max(1, round(total * warmup))
    if step < first:
        return (step + 1) / first
    return float(0.1 ** sum(step >= round(share * total) for share in drops))


class MovingAverage:
    """Exponential moving average of the parameters that learn; faster at the start: min(decay, (1 + t) / (10 + t))."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}

    def to(self, device: torch.device) -> None:
        """Moves the average to a device."""
        self.shadow = {name: value.to(device) for name, value in self.shadow.items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves towards the network's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        learned = {name: parameter.detach() for name, parameter in network.named_parameters() if name in self.shadow}
        torch._foreach_lerp_([self.shadow[name] for name in learned], list(learned.values()), 1 - decay)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchanges the network's weights with the average; a second call takes it back."""
        for name, parameter in network.named_parameters():
            if name in self.shadow:
                kept = parameter.detach().clone()
                parameter.copy_(self.shadow[name])
                self.shadow[name].copy_(kept)

    def state(self) -> dict[str, Tensor | int]:
        """What a checkpoint needs."""
        return {**{f"shadow.{name}": value for name, value in self.shadow.items()}, "updates": self.updates}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """From ``state``."""
        self.updates = int(state["updates"])
        for name, value in self.shadow.items():
            saved = state[f"shadow.{name}"]
            assert isinstance(saved, Tensor)
            value.copy_(saved)
