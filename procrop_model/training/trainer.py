"""The training loop: steps, epochs, validation, and the checkpoints between them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from pipeline.core.errors import InterruptedRunError, UsageError
from pipeline.core.seeds import seed_for
from pipeline.shards.epoch_order import Feed
from procrop_model.model_folder.save_load import learned_state, save_model
from procrop_model.model_folder.trained_on import save_photos
from procrop_model.network.crop_network import CropNetwork
from procrop_model.training.batches import Batch, BatchMaker
from procrop_model.training.checkpoint_state import RunState
from procrop_model.training.config import TrainConfig, settings_of
from procrop_model.training.data_sources import TrainingData
from procrop_model.training.distributed import Processes
from procrop_model.training.ema_teacher import Teacher
from procrop_model.training.losses import LossNormalisers, total_loss
from procrop_model.training.prefetch import PrefetchedViews
from procrop_model.training.run_files import RunFolder
from procrop_model.training.samples import RetrievalResults, Samples
from procrop_model.training.schedules import MovingAverage, cosine_with_warmup, in_steps
from procrop_model.training.signals import StopFlag
from procrop_model.training.taught import TaughtViews
from procrop_model.training.train_step import TrainStep
from procrop_model.training.training_report import TrainingSummary
from procrop_model.training.validate import Validator
from procrop_model.training.views import KEPT_BYTES, Views

Progress = Callable[[int, int, dict[str, float]], None]
STOPPED = "training was interrupted; its checkpoint is saved, the same command goes on from there"
OTHER_PLACE = "the processes do not find the same checkpoint: all must see the folder of the run"


class Trainer:
    """Trains a network on a dataset and writes the best epoch's weights as a cropper."""

    def __init__(
        self,
        config: TrainConfig,
        network: CropNetwork,
        data: TrainingData,
        *,
        retrieval: RetrievalResults,
        folder: RunFolder,
        processes: Processes,
    ) -> None:
        """Restores the checkpoint of ``folder`` when there is one.

        Args:
            config: settings; ``config.model`` has the sizes of ``network``.
            network: the network with its start weights, trained in place.
            data: training and validation samples.
            retrieval: the references and the neighbours of each sample.
            folder: where checkpoints, logs and the model are written.
            processes: the processes that train together.

        Raises RefusedError for the checkpoint of another run, UsageError when the processes found different checkpoints.
        """
        self.config = config
        self.network = network
        self.data = data
        self.retrieval = retrieval
        self.folder = folder
        self.processes = processes
        self.accelerator = processes.accelerator
        self._saved = 0.0  # time of the last checkpoint, monotonic
        self.validator = Validator(network, self._views(data.validation), retrieval, config)
        self.views = PrefetchedViews(self._views(data.samples, KEPT_BYTES // processes.here), config.workers)
        taught = None
        if config.taught and config.model.roi_outputs > 1:
            taught = TaughtViews(Path(config.taught), config.model, network.extractor, config.augment, config.seed)
        self.maker = BatchMaker(
            views=self.views,
            neighbours=retrieval.neighbours,
            database=retrieval.database,
            config=config.batch,
            augmentation=config.augment,
            model=config.model,
            taught=taught,
        )
        average = MovingAverage(network, config.average)
        step = TrainStep(network, config.loss, config.precision)
        self.step_module, optimiser = self.accelerator.prepare(step, make_optimiser(network, config))
        average.to(self.accelerator.device)
        teacher = Teacher(network, config.teacher) if config.teacher.used else None
        place = Feed(data.order, processes.rank, processes.count)
        self.state = RunState(network, config.model, average, teacher, optimiser, place)
        self.state.restore(folder)
        if len(set(processes.all_of(place.epoch * self.steps_an_epoch + place.step))) > 1:
            raise UsageError(OTHER_PLACE)
        if config.compiler:
            network.compile(backend=config.compiler)

    def _views(self, samples: Samples, kept_bytes: int = KEPT_BYTES) -> Views:
        return Views(
            samples=samples,
            config=self.config.model,
            extractor=self.network.extractor,
            seed=self.config.seed,
            kept_bytes=kept_bytes,
            targets=self.config.targets,
        )

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return self.data.order.batches_an_epoch

    def run(self, stop: StopFlag, progress: Progress | None = None) -> TrainingSummary:
        """Trains to the end, saves the model and gives the summary.

        progress(done steps, total steps, losses) is called after each step. Raises InterruptedRunError, with a checkpoint
        saved, once ``stop`` is raised in any process.
        """
        record, place, log = self.state.record, self.state.place, None
        if self.processes.main:
            log = SummaryWriter(str(self.folder.path / "tensorboard"), purge_step=place.epoch)
        started = self._saved = time.monotonic()
        before = record.seconds
        try:
            while place.epoch < self.config.epochs and not self._stale():
                for indices in self._batches():
                    losses = self._step(indices)
                    record.seconds = before + time.monotonic() - started
                    if progress is not None:
                        done = place.epoch * self.steps_an_epoch + place.step
                        progress(done, self.config.epochs * self.steps_an_epoch, losses)
                    if self.processes.any(stop.raised):
                        self._save()
                        self.processes.wait()  # the launcher ends all processes as soon as one has ended
                        raise InterruptedRunError(STOPPED)
                    self._save_if_due()
                self._end_epoch(log)
                self._save_if_due()
            self._save()
            summary = self._finish()
            self.processes.wait()
            return summary
        finally:
            self.views.close()
            if log is not None:
                log.close()

    def _batches(self) -> Iterator[list[int]]:
        """Sample indices of each batch from the present step to the end of the epoch; the step is counted when it is yielded."""
        place = self.state.place
        number = place.epoch % self.config.batch.views
        for indices in self.views.follow(place.of_worker(), number, self.config.augment):
            place.step += 1
            yield indices

    def _step(self, indices: Sequence[int]) -> dict[str, float]:
        """One optimiser step; gives the mean losses over the whole batch by name, with their weighted sum as ``total``."""
        config, place, state = self.config, self.state.place, self.state
        number = place.epoch * self.steps_an_epoch + place.step - 1  # ``_batches`` has counted this step already
        rank = f" {self.processes.rank}" if self.processes.rank else ""
        torch.manual_seed(seed_for(config.seed, "dropout", f"{number}{rank}"))
        set_rate(state.optimiser, number, config.epochs * self.steps_an_epoch, config)
        parts = [self.maker.make(part, place.epoch).to(self.accelerator.device) for part in self._parts(indices)]
        self.network.train()
        normalisers, whole = self._normalisers(parts)
        losses: dict[str, float] = {}
        for batch, normaliser in zip(parts, normalisers, strict=True):
            last = batch is parts[-1]
            with nullcontext() if last else self.accelerator.no_sync(self.step_module):
                means: dict[str, torch.Tensor] = self.step_module(batch, self._teacher_probabilities(batch))
                shares = {name: value * normaliser.share(name, whole) for name, value in means.items()}
                # Gradients are averaged over the processes, and a batch's are the sum of its parts'.
                self.accelerator.backward(total_loss(shares, config.loss) * self.processes.count)
            for name, value in shares.items():
                losses[name] = losses.get(name, 0.0) + float(value.detach())
        losses = dict(zip(losses, self.processes.sums(losses.values()), strict=True))
        self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip)
        state.optimiser.step()
        state.optimiser.zero_grad()
        state.average.update(self.network)
        state.record.add(losses)
        return {**losses, "total": float(total_loss({n: torch.tensor(v) for n, v in losses.items()}, config.loss))}

    def _parts(self, indices: Sequence[int]) -> list[Sequence[int]]:
        """The batch in at most ``config.accumulate`` parts, none empty, for gradient accumulation."""
        size = -(-len(indices) // self.config.accumulate)
        return [indices[start : start + size] for start in range(0, len(indices), size)]

    def _normalisers(self, parts: Sequence[Batch]) -> tuple[list[LossNormalisers], LossNormalisers]:
        """Those of each part, and of the whole batch over all processes. A process that only repeats samples counts as 0."""
        place = self.state.place
        if not place.order.has_own(place.step - 1, place.share):
            each = [LossNormalisers(0, 0, 0)] * len(parts)
        else:
            each = [LossNormalisers.of(part, self.config.loss, self.config.model.queries) for part in parts]
        return each, LossNormalisers(*self.processes.sums(sum(column) for column in zip(*each, strict=True)))

    def _teacher_probabilities(self, batch: Batch) -> torch.Tensor | None:
        teacher = self.state.teacher
        if teacher is None or not teacher.teaches(self.state.place.epoch, self.config.epochs):
            return None
        return teacher.probabilities(batch)

    def _end_epoch(self, log: SummaryWriter | None) -> None:
        """Validates the averaged weights and keeps them when they are the best so far."""
        state, epoch = self.state, self.state.place.epoch
        record = state.record
        state.average.swap(self.network)
        value = self._validate()
        if value > record.best_iou or not len(self.data.validation):
            record.best_iou, record.best_epoch = value, epoch
            state.best = {
                name: x.detach().cpu().clone() for name, x in learned_state(self.network, self.config.model).items()
            }
        state.average.swap(self.network)
        if state.teacher is not None:
            state.teacher.end_epoch(self.network)
        losses = {f"loss/{name}": total / self.steps_an_epoch for name, total in record.sums.items()}
        row = {"epoch": epoch, **losses, "val_iou": value, "learning_rate": state.optimiser.param_groups[0]["lr"]}
        record.history.append(row)
        if log is not None:
            for name, number in row.items():
                log.add_scalar(name, number, epoch)
        record.sums = {}
        state.place.end_epoch()

    def _validate(self) -> float:
        """Mean IoU of the answers on the validation split; -1 without one, so that the last epoch is taken."""
        if not len(self.data.validation):
            return -1.0
        values = self.validator.ious(self.state.place.share)
        return sum(self.processes.sums(values)) / len(values)

    def _stale(self) -> bool:
        return 0 < self.config.patience <= self.state.place.epoch - 1 - self.state.record.best_epoch

    def _finish(self) -> TrainingSummary:
        """Writes the cropper, the marks of its training photographs and the reports."""
        record, config, database = self.state.record, self.config, self.retrieval.database
        summary: TrainingSummary = {
            "identity": self.folder.identity,
            "model": "cropper",
            "mode": config.mode,
            "val_iou": record.best_iou,
            "best_epoch": record.best_epoch,
            "epochs": self.state.place.epoch,
            **self.data.counts(),
            "references": len(database),
            "seconds": round(record.seconds, 1),
        }
        if self.processes.main:
            settings, home = settings_of(config), self.folder.model
            start = Path(config.init_from) if config.init_from else None
            save_photos(home, (sample.photo for sample in self.data.samples.labels()), start)
            trained = {**summary, "settings": settings}
            save_model(
                home,
                self.state.best,
                config=self.validator.calibrated(self.state.best),
                references=database,
                trained=trained,
            )
            self.folder.write_reports(record.history, summary, {**settings, "model": config.model.to_json()})
        return summary

    def _save_if_due(self) -> None:
        """Saves a checkpoint once ``checkpoint_seconds`` have passed: an epoch may be shorter than saving takes."""
        if time.monotonic() - self._saved >= self.config.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        if self.processes.main:
            self.state.save(self.folder)
        self._saved = time.monotonic()


def make_optimiser(network: CropNetwork, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; those of the backbone at ``config.backbone_rate``."""
    backbone = [p for p in network.extractor.backbone.parameters() if p.requires_grad]
    slow = {id(p) for p in backbone}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in slow]
    groups: list[dict[str, list[torch.nn.Parameter] | float]] = [
        {"params": rest, "lr": config.learning_rate, "base": config.learning_rate}
    ]
    if backbone:
        groups.append({"params": backbone, "lr": config.backbone_rate, "base": config.backbone_rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, step: int, total: int, config: TrainConfig) -> float:
    """Sets the learning rates of step ``step`` of ``total`` and gives the factor on the configured rates."""
    if config.schedule == "step":
        rate = in_steps(step, total, config.warmup, config.drops)
    else:
        rate = cosine_with_warmup(step, total, config.warmup)
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * rate
    return rate
