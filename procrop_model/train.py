"""Training on weak labels: from the shards, the neighbours and the references to a model folder.

A run can be stopped at any step and started again; it ends with the same weights. ``finished.json`` is written last.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from pipeline.errors import InterruptedRunError, RefusedError
from pipeline.seeds import seed_for
from procrop_model.batches import Batch, BatchMaker, epoch_batches
from procrop_model.build import build_network
from procrop_model.checkpoint import load_checkpoint, save_checkpoint
from procrop_model.config import CropperConfig, shares_pass
from procrop_model.data import CanvasSample, read_neighbours, read_split, references_of
from procrop_model.interrupts import StopFlag
from procrop_model.lite0 import Lite0Encoder
from procrop_model.losses import total_loss
from procrop_model.network import CropNetwork
from procrop_model.references import ReferenceDatabase
from procrop_model.schedule import MovingAverage, cosine_with_warmup
from procrop_model.train_config import TrainConfig, identity_of, settings_of
from procrop_model.train_files import other_run, read_finished, write_finished
from procrop_model.train_step import TrainStep
from procrop_model.validate import top_iou
from procrop_model.views import Views
from procrop_model.weights import learned_state, save_model

Progress = Callable[[int, int, dict[str, float]], None]
__all__ = ["TrainConfig", "train"]
STOPPED = "training was interrupted; its checkpoint is saved, the same command goes on from there"


@dataclass
class Position:
    """Where a run is, between two steps. sums: losses so far in this epoch."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_iou: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0


def train(
    config: TrainConfig, dataset_dir: Path, *, retrieve_dir: Path, out_dir: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Trains on the ``train`` split, chooses the epoch on ``val``, writes ``out_dir/cropper`` and gives a summary.

    progress(done steps, total steps, losses) is called after each step. Raises MissingUpstreamError without data,
    RefusedError when ``out_dir`` holds a run of other settings or data, InterruptedRunError after SIGINT or SIGTERM.
    """
    samples = read_split(dataset_dir, "train")
    validation = read_split(dataset_dir, "val", needed=False)
    database = ReferenceDatabase.load(references_of(retrieve_dir))
    neighbours = read_neighbours(retrieve_dir)
    identity = identity_of(config, [*samples, *validation], database)
    if (summary := read_finished(out_dir, identity)) is not None:
        return summary
    sizes = _fitting(config.model, database, samples)
    run = Run(replace(config, model=sizes), out_dir, identity)
    run.feed(samples, validation, neighbours=neighbours, database=database)
    with StopFlag() as stop:
        return run.go(stop, progress)


def _fitting(sizes: CropperConfig, database: ReferenceDatabase, samples: Sequence[CanvasSample]) -> CropperConfig:
    """The sizes with what the data dictate: the references' channels and encoder, its input for one shared pass, and the
    median long side of the canvases.
    """
    encoder = Lite0Encoder.from_digest(database.encoder)
    side = encoder.size if shares_pass(sizes) else sizes.input_side
    channels = int(database.tokens.shape[2])
    long_side = int(median(max(sample.width, sample.height) for sample in samples))
    return replace(sizes, encoder=database.encoder, reference_dim=channels, input_side=side, source_side=long_side)


class Run:
    """A training run in progress."""

    def __init__(self, config: TrainConfig, out_dir: Path, identity: str) -> None:
        self.config = config
        self.out_dir = out_dir
        self.identity = identity
        self.accelerator = Accelerator(cpu=config.device == "cpu")
        torch.manual_seed(seed_for(config.seed, "weights", ""))
        self.network: CropNetwork = build_network(config.model)
        self.average = MovingAverage(self.network, config.average)
        self.position = Position()
        self.best: dict[str, Tensor] = {}

    def feed(
        self,
        samples: Sequence[CanvasSample],
        validation: Sequence[CanvasSample],
        *,
        neighbours: dict[str, Any],
        database: ReferenceDatabase,
    ) -> None:
        """Hands over the data and prepares the optimiser."""
        config = self.config
        self.database, self.neighbours, self.samples = database, neighbours, samples
        extractor = self.network.extractor
        self.validation = Views(samples=validation, config=config.model, extractor=extractor, seed=config.seed)
        self.maker = BatchMaker(
            views=Views(samples=samples, config=config.model, extractor=extractor, seed=config.seed),
            neighbours=neighbours,
            database=database,
            config=config.batch,
            augmentation=config.augment,
            k=config.model.k,
        )
        self.optimiser = torch.optim.AdamW(_groups(self.network, config), weight_decay=config.weight_decay)
        self.step_module, self.optimiser = self.accelerator.prepare(
            TrainStep(self.network, config.loss), self.optimiser
        )
        self.average.to(self.accelerator.device)
        self._restore()

    @property
    def steps_an_epoch(self) -> int:
        """Steps of one epoch."""
        return -(-len(self.samples) // self.config.batch.size)

    def go(self, stop: StopFlag, progress: Progress | None) -> dict[str, Any]:
        """Trains to the end, saves the model and gives the summary."""
        position, log = self.position, None
        if self.accelerator.is_main_process:
            log = SummaryWriter(str(self.out_dir / "tensorboard"), purge_step=position.epoch)
        started, saved = time.monotonic(), time.monotonic()
        before = position.seconds
        while position.epoch < self.config.epochs and not self._stale():
            for indices in epoch_batches(len(self.samples), self.config.batch.size, self.config.seed, position.epoch)[
                position.step :
            ]:
                losses = self._step(indices)
                position.step += 1
                position.seconds = before + time.monotonic() - started
                if progress is not None:
                    done = position.epoch * self.steps_an_epoch + position.step
                    progress(done, self.config.epochs * self.steps_an_epoch, losses)
                if stop.raised:
                    self._checkpoint()
                    raise InterruptedRunError(STOPPED)
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self._checkpoint()
                    saved = time.monotonic()
            self._end_epoch(log)
        if log is not None:
            log.close()
        return self._finish()

    def _step(self, indices: Sequence[int]) -> dict[str, float]:
        config, position = self.config, self.position
        number = position.epoch * self.steps_an_epoch + position.step
        torch.manual_seed(seed_for(config.seed, "dropout", str(number)))
        rate = cosine_with_warmup(number, config.epochs * self.steps_an_epoch, config.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * rate
        share = indices[self.accelerator.process_index :: self.accelerator.num_processes] or indices[:1]
        batch: Batch = self.maker.make(share, position.epoch).to(self.accelerator.device)
        self.network.train()
        parts = self.step_module(batch)
        self.accelerator.backward(total_loss(parts, config.loss))
        self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.update(self.network)
        losses = {name: float(value.detach()) for name, value in parts.items()}
        for name, value in losses.items():
            position.sums[name] = position.sums.get(name, 0.0) + value
        return losses

    def _end_epoch(self, log: SummaryWriter | None) -> None:
        position = self.position
        self.average.swap(self.network)
        value = self._validate()
        if value > position.best_iou or not self.validation.samples:
            position.best_iou, position.best_epoch = value, position.epoch
            self.best = {
                name: x.detach().cpu().clone() for name, x in learned_state(self.network, self.config.model).items()
            }
        self.average.swap(self.network)
        losses = {f"loss/{name}": total / self.steps_an_epoch for name, total in position.sums.items()}
        row = {"epoch": position.epoch, **losses, "val_iou": value}
        position.history.append(row)
        if log is not None:
            for name, number in row.items():
                log.add_scalar(name, number, position.epoch)
        position.epoch, position.step, position.sums = position.epoch + 1, 0, {}
        self._checkpoint()

    def _validate(self) -> float:
        """IoU on the val split; -1 when the dataset has none, and then the last epoch is taken."""
        if not self.validation.samples:
            return -1.0
        return top_iou(
            self.network,
            self.validation,
            neighbours=self.neighbours,
            database=self.database,
            k=self.config.model.k,
        )

    def _stale(self) -> bool:
        position = self.position
        return 0 < self.config.patience <= position.epoch - 1 - position.best_epoch

    def _finish(self) -> dict[str, Any]:
        position = self.position
        summary = {
            "identity": self.identity,
            "model": "cropper",
            "val_iou": position.best_iou,
            "best_epoch": position.best_epoch,
            "epochs": position.epoch,
            "samples": len(self.samples),
            "seconds": round(position.seconds, 1),
        }
        if self.accelerator.is_main_process:
            save_model(
                self.out_dir / "cropper",
                self.best,
                config=self.config.model,
                references=self.database,
                trained={**summary, "settings": settings_of(self.config)},
            )
            write_finished(self.out_dir, position.history, summary)
        return summary

    def _checkpoint(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            "identity": self.identity,
            "position": asdict(self.position),
            "network": learned_state(self.network, self.config.model),
            "average": self.average.state(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }
        save_checkpoint(self.out_dir / "checkpoint.pt", state)

    def _restore(self) -> None:
        state = load_checkpoint(self.out_dir / "checkpoint.pt")
        if state is None:
            return
        if state["identity"] != self.identity:
            raise RefusedError(other_run(self.out_dir))
        self.network.load_state_dict(state["network"], strict=False)
        self.average.restore(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.position, self.best = Position(**state["position"]), state["best"]


def _groups(network: CropNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    backbone = [p for p in network.extractor.backbone.parameters() if p.requires_grad]
    slow = {id(p) for p in backbone}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in slow]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": config.learning_rate, "base": config.learning_rate}]
    if backbone:
        groups.append({"params": backbone, "lr": config.backbone_rate, "base": config.backbone_rate})
    return groups
