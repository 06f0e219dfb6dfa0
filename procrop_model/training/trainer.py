"""A training run in progress: steps, epochs, and what is saved between them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from pipeline.core.errors import InterruptedRunError, UsageError
from pipeline.core.seeds import seed_for
from pipeline.shards.epoch_order import Feed
from procrop_model.model_folder.save_load import learned_state, save_model
from procrop_model.model_folder.trained_on import save_photos
from procrop_model.network.crop_network import CropNetwork
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.training.batches import Batch, BatchMaker
from procrop_model.training.checkpoint_state import RunState
from procrop_model.training.config import TrainConfig, settings_of
from procrop_model.training.data_sources import TrainingData
from procrop_model.training.distributed import Processes
from procrop_model.training.ema_teacher import Teacher
from procrop_model.training.loss_normalisers import PartCounts
from procrop_model.training.losses import total_loss
from procrop_model.training.optimiser import make_optimiser, set_rate
from procrop_model.training.prefetch import AheadViews
from procrop_model.training.run_files import write_finished
from procrop_model.training.schedules import MovingAverage
from procrop_model.training.signals import StopFlag
from procrop_model.training.train_step import TrainStep
from procrop_model.training.validate import top_ious
from procrop_model.training.views import KEPT_BYTES, Views

Progress = Callable[[int, int, dict[str, float]], None]
STOPPED = "training was interrupted; its checkpoint is saved, the same command goes on from there"
OTHER_PLACE = (
    "the processes do not find the same checkpoint: the folder of the run must lie on a disk that all of them share"
)


class Run:
    """A training run in progress."""

    def __init__(
        self, config: TrainConfig, network: CropNetwork, out_dir: Path, *, identity: str, processes: Processes
    ) -> None:
        """network: as it starts; out_dir: what a run of the same ``identity`` left there is gone on with."""
        self.config = config
        self.network = network
        self.out_dir = out_dir
        self.identity = identity
        self.processes = processes
        self.accelerator = processes.accelerator

    def feed(self, data: TrainingData, neighbours: dict[str, list[Neighbour]], database: ReferenceDatabase) -> None:
        """Hands over the data and prepares the optimiser."""
        config, network = self.config, self.network
        self.data, self.database, self.neighbours = data, database, neighbours
        shared: dict[str, Any] = {"config": config.model, "extractor": network.extractor, "seed": config.seed}
        self.validation = Views(samples=data.validation, targets=config.targets, **shared)
        room = KEPT_BYTES // self.processes.here
        views = Views(samples=data.samples, targets=config.targets, kept_bytes=room, **shared)
        self.ahead = AheadViews(views, config.workers)
        self.maker = BatchMaker(
            views=self.ahead,
            neighbours=neighbours,
            database=database,
            config=config.batch,
            augmentation=config.augment,
            k=config.model.k,
        )
        average = MovingAverage(network, config.average)
        optimiser = make_optimiser(network, config)
        step = TrainStep(network, config.loss, config.precision)
        self.step_module, optimiser = self.accelerator.prepare(step, optimiser)
        average.to(self.accelerator.device)
        teacher = Teacher(network, config.teacher) if config.teacher.used else None
        place = Feed(data.order, self.processes.rank, self.processes.count)
        self.state = RunState(network, config.model, average, teacher, optimiser, place)
        self.state.restore(self.checkpoint, self.identity)
        if len(set(self.processes.all_of(place.epoch * self.steps_an_epoch + place.step))) > 1:
            raise UsageError(OTHER_PLACE)
        if config.compiler:
            network.compile(backend=config.compiler)

    @property
    def checkpoint(self) -> Path:
        """The file that a stopped run goes on from."""
        return self.out_dir / "checkpoint.pt"

    @property
    def steps_an_epoch(self) -> int:
        """Steps of one epoch."""
        return self.data.order.batches_an_epoch

    def go(self, stop: StopFlag, progress: Progress | None) -> dict[str, Any]:
        """Trains to the end, saves the model and gives the summary."""
        record, place, log = self.state.record, self.state.place, None
        if self.processes.main:
            log = SummaryWriter(str(self.out_dir / "tensorboard"), purge_step=place.epoch)
        started, saved = time.monotonic(), time.monotonic()
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
                        self.processes.wait()  # who starts processes ends the others when one has ended
                        raise InterruptedRunError(STOPPED)
                    if time.monotonic() - saved > self.config.checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
                self._end_epoch(log)
            summary = self._finish()
            self.processes.wait()
            return summary
        finally:
            self.ahead.close()
            if log is not None:
                log.close()

    def _batches(self) -> Iterator[list[int]]:
        """Those from here to the end of the epoch, each counted as it is handed out."""
        place = self.state.place
        number = place.epoch % self.config.batch.views
        for indices in self.ahead.follow(place.of_worker(), number, self.config.augment):
            place.step += 1
            yield indices

    def _step(self, indices: Sequence[int]) -> dict[str, float]:
        config, place, state = self.config, self.state.place, self.state
        number = place.epoch * self.steps_an_epoch + place.step - 1  # the step in hand is counted already
        rank = f" {self.processes.rank}" if self.processes.rank else ""
        torch.manual_seed(seed_for(config.seed, "dropout", f"{number}{rank}"))
        set_rate(state.optimiser, number, config.epochs * self.steps_an_epoch, config)
        parts = [self.maker.make(some, place.epoch).to(self.accelerator.device) for some in self._parts(indices)]
        self.network.train()
        counts, whole = self._counts(parts)
        losses: dict[str, float] = {}
        for batch, part in zip(parts, counts, strict=True):
            last = batch is parts[-1]
            with nullcontext() if last else self.accelerator.no_sync(self.step_module):
                found = self.step_module(batch, self._taught(batch))
                found = {name: value * part.share(name, whole) for name, value in found.items()}
                # Gradients are averaged over the processes, and a batch's are the sum of its parts'.
                self.accelerator.backward(total_loss(found, config.loss) * self.processes.count)
            for name, value in found.items():
                losses[name] = losses.get(name, 0.0) + float(value.detach())
        losses = dict(zip(losses, self.processes.sums(losses.values()), strict=True))
        self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip)
        state.optimiser.step()
        state.optimiser.zero_grad()
        state.average.update(self.network)
        state.record.add(losses)
        return {**losses, "total": float(total_loss({n: torch.tensor(v) for n, v in losses.items()}, config.loss))}

    def _parts(self, indices: Sequence[int]) -> list[Sequence[int]]:
        """A batch in as many parts as go through the network one by one, none empty."""
        size = -(-len(indices) // self.config.accumulate)
        return [indices[start : start + size] for start in range(0, len(indices), size)]

    def _counts(self, parts: Sequence[Batch]) -> tuple[list[PartCounts], PartCounts]:
        """What there is in each part, and in the whole batch over all processes."""
        place = self.state.place
        if not place.order.has_own(place.step - 1, place.share):
            counts = [PartCounts(0, 0, 0)] * len(parts)
        else:
            counts = [PartCounts.of(part, self.config.loss, self.config.model.queries) for part in parts]
        return counts, PartCounts(*self.processes.sums(sum(column) for column in zip(*counts, strict=True)))

    def _taught(self, batch: Batch) -> torch.Tensor | None:
        teacher = self.state.teacher
        if teacher is None or not teacher.teaches(self.state.place.epoch, self.config.epochs):
            return None
        return teacher.probabilities(batch)

    def _end_epoch(self, log: SummaryWriter | None) -> None:
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
        self._save()

    def _validate(self) -> float:
        """IoU on the validation split; -1 when the dataset has none, and then the last epoch is taken."""
        if not len(self.data.validation):
            return -1.0
        values = top_ious(
            self.network,
            self.validation,
            self.state.place.share,
            neighbours=self.neighbours,
            database=self.database,
            k=self.config.model.k,
        )
        return sum(self.processes.sums(values)) / len(values)

    def _stale(self) -> bool:
        return 0 < self.config.patience <= self.state.place.epoch - 1 - self.state.record.best_epoch

    def _finish(self) -> dict[str, Any]:
        record, config = self.state.record, self.config
        summary: dict[str, Any] = {
            "identity": self.identity,
            "model": "cropper",
            "mode": config.mode,
            "val_iou": record.best_iou,
            "best_epoch": record.best_epoch,
            "epochs": self.state.place.epoch,
            **self.data.about(),
            "references": len(self.database),
            "seconds": round(record.seconds, 1),
        }
        if self.processes.main:
            told = {**summary, "settings": settings_of(config)}
            home, start = self.out_dir / "cropper", Path(config.init_from) if config.init_from else None
            save_photos(home, (sample.photo for sample in self.data.samples.labels()), start)
            save_model(home, self.state.best, config=config.model, references=self.database, trained=told)
            write_finished(self.out_dir, record.history, summary, {**told["settings"], "model": config.model.to_json()})
        return summary

    def _save(self) -> None:
        if self.processes.main:
            self.state.save(self.checkpoint, self.identity)
