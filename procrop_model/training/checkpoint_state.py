"""What a run has come to, as its checkpoint holds it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.core.errors import RefusedError
from pipeline.shards.epoch_order import Feed
from procrop_model.model_folder.save_load import learned_state
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import CropNetwork
from procrop_model.training.checkpoint import load_checkpoint, save_checkpoint
from procrop_model.training.ema_teacher import Teacher
from procrop_model.training.run_files import other_run
from procrop_model.training.schedules import MovingAverage


@dataclass
class Record:
    """What a run has come to, between two steps. sums: losses so far in this epoch."""

    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_iou: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0

    def add(self, losses: dict[str, float]) -> None:
        """Counts the losses of a step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


@dataclass
class RunState:
    """All that changes in a run. best: weights of the epoch that was best so far."""

    network: CropNetwork
    sizes: CropperConfig
    average: MovingAverage
    teacher: Teacher | None
    optimiser: torch.optim.Optimizer
    place: Feed
    record: Record = field(default_factory=Record)
    best: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path, identity: str) -> None:
        """Replaces the checkpoint in one step."""
        taught = {} if self.teacher is None else learned_state(self.teacher.network, self.sizes)
        state = {
            "identity": identity,
            "record": asdict(self.record),
            "place": self.place.state_dict(),
            "network": learned_state(self.network, self.sizes),
            "average": self.average.state(),
            "teacher": taught,
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }
        save_checkpoint(path, state)

    def restore(self, path: Path, identity: str) -> None:
        """Goes on where the checkpoint was, if there is one; raises RefusedError when it is another run's."""
        state = load_checkpoint(path)
        if state is None:
            return
        if state["identity"] != identity or "teacher" not in state:
            raise RefusedError(other_run(path.parent))
        self.network.load_state_dict(state["network"], strict=False)
        self.average.restore(state["average"])
        if self.teacher is not None:
            self.teacher.network.load_state_dict(state["teacher"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.place.load_state_dict(state["place"])
        self.record, self.best = Record(**state["record"]), state["best"]
