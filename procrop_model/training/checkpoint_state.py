"""The state of a run, as its checkpoint holds it."""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from pipeline.shards.epoch_order import Feed
from procrop_model.model_folder.save_load import learned_state
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import CropNetwork
from procrop_model.training.checkpoint import load_checkpoint, save_checkpoint
from procrop_model.training.ema_teacher import Teacher
from procrop_model.training.run_files import RunFolder
from procrop_model.training.schedules import MovingAverage
from procrop_model.training.training_report import EpochRow


@dataclass
class Record:
    """The results of a run so far.

    Args:
        sums: losses of the present epoch by name, summed over its steps.
        history: one row per finished epoch.
        best_iou: validation IoU of the best epoch.
        best_epoch: its number from 0; -1 before the first.
        seconds: of training, over all restarts.
    """

    sums: dict[str, float] = field(default_factory=dict)
    history: list[EpochRow] = field(default_factory=list)
    best_iou: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0

    def add(self, losses: dict[str, float]) -> None:
        """Adds the losses of a step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


@dataclass
class RunState:
    """Everything that changes during a run.

    Args:
        network: the network being trained.
        sizes: its configuration.
        average: moving average of its weights.
        teacher: the EMA teacher, or None.
        optimiser: of the network's parameters.
        place: epoch and step, with the order of the samples.
        record: losses and validation results.
        best: the averaged weights of the best epoch so far.
    """

    network: CropNetwork
    sizes: CropperConfig
    average: MovingAverage
    teacher: Teacher | None
    optimiser: torch.optim.Optimizer
    place: Feed
    record: Record = field(default_factory=Record)
    best: dict[str, Tensor] = field(default_factory=dict)

    def save(self, folder: RunFolder) -> None:
        """Replaces the checkpoint atomically."""
        teacher = {} if self.teacher is None else learned_state(self.teacher.network, self.sizes)
        state = {
            "identity": folder.identity,
            "record": asdict(self.record),
            "place": self.place.state_dict(),
            "network": learned_state(self.network, self.sizes),
            "average": self.average.state(),
            "teacher": teacher,
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }
        save_checkpoint(folder.checkpoint, state)

    def restore(self, folder: RunFolder) -> None:
        """Takes over the state of the checkpoint, if there is one; raises RefusedError when it is another run's."""
        state = load_checkpoint(folder.checkpoint)
        if state is None:
            return
        folder.check_identity(state["identity"] if "teacher" in state else "")  # without teacher: of an earlier version
        self.network.load_state_dict(state["network"], strict=False)
        self.average.restore(state["average"])
        if self.teacher is not None:
            self.teacher.network.load_state_dict(state["teacher"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.place.load_state_dict(state["place"])
        self.record, self.best = Record(**state["record"]), state["best"]
