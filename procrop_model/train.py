"""Training on weak labels: from the shards, the neighbours and the references to a model folder.

A run can be stopped at any step and started again; it ends with the same weights. ``finished.json`` is written last.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from pipeline.epoch_order import EpochOrder, Feed
from pipeline.errors import InterruptedRunError, RefusedError
from pipeline.seeds import seed_for
from procrop_model.batches import Batch, BatchMaker
from procrop_model.build import build_network
from procrop_model.checkpoint import load_checkpoint, save_checkpoint
from procrop_model.config import CropperConfig, shares_pass
from procrop_model.data import CanvasSet, read_neighbours, read_split, references_of
from procrop_model.interrupts import StopFlag
from procrop_model.lite0_files import lite0_side
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
class Record:
    """What a run has come to, between two steps. sums: losses so far in this epoch."""

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
    identity = identity_of(config, chain(samples.labels(), validation.labels()), database)
    if (summary := read_finished(out_dir, identity)) is not None:
        return summary
    sizes = _fitting(config.model, database, samples)
    run = Run(replace(config, model=sizes), out_dir, identity)
    run.feed(samples, validation, neighbours=neighbours, database=database)
    with StopFlag() as stop:
        return run.go(stop, progress)


def _fitting(sizes: CropperConfig, database: ReferenceDatabase, samples: CanvasSet) -> CropperConfig:
    """The sizes with what the data dictate: the references' channels and encoder, its input for one shared pass, and the
    median long side of the canvases.
    """
    side = (lite0_side(database.encoder) if shares_pass(sizes) else 0) or sizes.input_side
    channels = int(database.tokens.shape[2])
    long_side = int(median(max(sample.width, sample.height) for sample in samples.labels()))
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
        self.record = Record()
        self.best: dict[str, Tensor] = {}

    def feed(
        self,
        samples: CanvasSet,
        validation: CanvasSet,
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
        order = EpochOrder(len(samples), config.batch.size, config.seed)
        self.place = Feed(order, self.accelerator.process_index, self.accelerator.num_processes)
        self._restore()

    @property
    def steps_an_epoch(self) -> int:
        """Steps of one epoch."""
        return self.place.order.batches_an_epoch

    def go(self, stop: StopFlag, progress: Progress | None) -> dict[str, Any]:
        """Trains to the end, saves the model and gives the summary."""
        record, place, log = self.record, self.place, None
        if self.accelerator.is_main_process:
            log = SummaryWriter(str(self.out_dir / "tensorboard"), purge_step=place.epoch)
        started, saved = time.monotonic(), time.monotonic()
        before = record.seconds
        while place.epoch < self.config.epochs and not self._stale():
            for indices in place:
                losses = self._step(indices)
                record.seconds = before + time.monotonic() - started
                if progress is not None:
                    done = place.epoch * self.steps_an_epoch + place.step
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
        config, place = self.config, self.place
        number = place.epoch * self.steps_an_epoch + place.step - 1  # the step in hand is counted already
        torch.manual_seed(seed_for(config.seed, "dropout", str(number)))
        rate = cosine_with_warmup(number, config.epochs * self.steps_an_epoch, config.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * rate
        batch: Batch = self.maker.make(indices, place.epoch).to(self.accelerator.device)
        self.network.train()
        parts = self.step_module(batch)
        self.accelerator.backward(total_loss(parts, config.loss))
        self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.update(self.network)
        losses = {name: float(value.detach()) for name, value in parts.items()}
        for name, value in losses.items():
            self.record.sums[name] = self.record.sums.get(name, 0.0) + value
        return losses

    def _end_epoch(self, log: SummaryWriter | None) -> None:
        record, epoch = self.record, self.place.epoch
        self.average.swap(self.network)
        value = self._validate()
        if value > record.best_iou or not self.validation.samples:
            record.best_iou, record.best_epoch = value, epoch
            self.best = {
                name: x.detach().cpu().clone() for name, x in learned_state(self.network, self.config.model).items()
            }
        self.average.swap(self.network)
        losses = {f"loss/{name}": total / self.steps_an_epoch for name, total in record.sums.items()}
        row = {"epoch": epoch, **losses, "val_iou": value}
        record.history.append(row)
        if log is not None:
            for name, number in row.items():
                log.add_scalar(name, number, epoch)
        record.sums = {}
        self.place.end_epoch()
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
        return 0 < self.config.patience <= self.place.epoch - 1 - self.record.best_epoch

    def _finish(self) -> dict[str, Any]:
        record = self.record
        summary = {
            "identity": self.identity,
            "model": "cropper",
            "val_iou": record.best_iou,
            "best_epoch": record.best_epoch,
            "epochs": self.place.epoch,
            "samples": len(self.samples),
            "seconds": round(record.seconds, 1),
        }
        if self.accelerator.is_main_process:
            save_model(
                self.out_dir / "cropper",
                self.best,
                config=self.config.model,
                references=self.database,
                trained={**summary, "settings": settings_of(self.config)},
            )
            write_finished(self.out_dir, record.history, summary)
        return summary

    def _checkpoint(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            "identity": self.identity,
            "record": asdict(self.record),
            "place": self.place.state_dict(),
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
        if state["identity"] != self.identity or "place" not in state:
            raise RefusedError(other_run(self.out_dir))
        self.network.load_state_dict(state["network"], strict=False)
        self.average.restore(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.place.load_state_dict(state["place"])
        self.record, self.best = Record(**state["record"]), state["best"]


def _groups(network: CropNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    backbone = [p for p in network.extractor.backbone.parameters() if p.requires_grad]
    slow = {id(p) for p in backbone}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in slow]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": config.learning_rate, "base": config.learning_rate}]
    if backbone:
        groups.append({"params": backbone, "lr": config.backbone_rate, "base": config.backbone_rate})
    return groups
