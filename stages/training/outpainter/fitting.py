"""The training loop of the small out-painter: a training that was stopped at any step resumes to the same weights."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor

from pipeline.core.errors import InterruptedRunError, RefusedError
from pipeline.core.seeds import digest_of, seed_for
from procrop_model.training.checkpoint import load_checkpoint, save_checkpoint
from procrop_model.training.schedules import cosine_with_warmup
from procrop_model.training.signals import StopFlag
from stages.backends.outpainters.small_diffusion.network import build_scheduler, build_unet, predict
from stages.training.outpainter.crops import CanvasBatch, CanvasBatches

Progress = Callable[[int, int, dict[str, float]], None]
CHECKPOINT = "checkpoint.pt"
CODE_VERSION = 1  # raised whenever the same settings give other weights
HELD_OUT_BATCHES = 8  # of one evaluation
STOPPED = "training was interrupted; its checkpoint is saved, the same command goes on from there"


@dataclass(frozen=True)
class OutpainterTraining:
    """Settings of a training.

    Args:
        seed: of the weights, the canvases and the noise.
        steps: of AdamW.
        size: square root of the pixels of a canvas.
        width: channels of the network's first level.
        batch: canvases of a step.
        learning_rate: at its maximum; it falls to 0 as a cosine.
        warmup: share of the steps over which the learning rate rises.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        decay: of the weights' moving average, a step.
        evaluations: of the held-out loss, over the training.
        checkpoint_seconds: between checkpoints, which a killed training loses at most; it does not change the weights.
    """

    seed: int = 0
    steps: int = 20_000
    size: int = 64
    width: int = 48
    batch: int = 16
    learning_rate: float = 4e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    decay: float = 0.999
    evaluations: int = 10
    checkpoint_seconds: float = 60.0

    def identity(self, photographs: str) -> str:
        """A digest of all that determines the weights. photographs: a digest of their pixels."""
        settings = {name: value for name, value in asdict(self).items() if name != "checkpoint_seconds"}
        return digest_of({"code": CODE_VERSION, "settings": settings, "photographs": photographs})[:16]


class Fitting:
    """A training in progress. ``history`` has rows of step, mean training loss since the row before, and held-out loss.

    It resumes from the checkpoint in ``out`` if there is one; RefusedError when that belongs to another training.

    Args:
        settings: of the training.
        out: folder of the checkpoint.
        identity: of settings and photographs.
        train: batches to train on.
        held_out: batches of the held-out loss.
        device: a torch device.
    """

    def __init__(
        self,
        settings: OutpainterTraining,
        out: Path,
        identity: str,
        *,
        train: CanvasBatches,
        held_out: CanvasBatches,
        device: str,
    ) -> None:
        self.settings, self.identity = settings, identity
        self._path, self._train, self._held_out = out / CHECKPOINT, train, held_out
        self._accelerator = Accelerator(cpu=device == "cpu")
        torch.manual_seed(seed_for(settings.seed, "outpainter weights", ""))
        self.scheduler = build_scheduler()
        self._noising: Any = DDPMScheduler.from_config(self.scheduler.config)
        network: Any = build_unet(settings.size, settings.width)
        self.average: Any = EMAModel(network.parameters(), decay=settings.decay)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.network, self._optimiser = self._accelerator.prepare(network, optimiser)
        self.average.to(self._accelerator.device)
        self.step, self.sum, self.seconds, self.history = 0, 0.0, 0.0, list[list[float]]()
        self._restore()

    def go(self, progress: Progress) -> None:
        """Train to the end; the averaged weights are then in ``network``. InterruptedRunError after SIGINT or SIGTERM."""
        settings, every = self.settings, max(1, self.settings.steps // self.settings.evaluations)
        since, saved = time.monotonic(), time.monotonic()
        with StopFlag() as stop:
            while self.step < settings.steps:
                loss = self._step()
                self.step, self.sum = self.step + 1, self.sum + loss
                if self.step % every == 0 or self.step == settings.steps:
                    self._evaluate()
                self.seconds, since = self.seconds + time.monotonic() - since, time.monotonic()
                progress(self.step, settings.steps, {"total": loss})
                if stop.raised or self.step == settings.steps or since - saved > settings.checkpoint_seconds:
                    self._checkpoint()
                    saved = time.monotonic()
                if stop.raised:
                    raise InterruptedRunError(STOPPED)
        self.average.copy_to(self.network.parameters())

    def _step(self) -> float:
        settings = self.settings
        for group in self._optimiser.param_groups:
            group["lr"] = settings.learning_rate * cosine_with_warmup(self.step, settings.steps, settings.warmup)
        self.network.train()
        loss = self._loss(self._train.batch(self.step), "outpainter noise", self.step)
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self.network.parameters(), settings.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.average.step(self.network.parameters())
        return float(loss.detach())

    def _loss(self, batch: CanvasBatch, purpose: str, number: int) -> Tensor:
        """Mean squared error of the velocity over hidden pixels; the noise follows from seed, purpose and number alone."""
        batch = batch.to(self._accelerator.device)
        generator = torch.Generator("cpu").manual_seed(seed_for(self.settings.seed, purpose, "", number))
        noise = torch.randn(batch.truth.shape, generator=generator).to(batch.truth)
        count = int(self._noising.config.num_train_timesteps)
        times = torch.randint(0, count, (len(noise),), generator=generator).to(noise.device)  # [B]
        noisy = self._noising.add_noise(batch.truth, noise, times)
        wanted = self._noising.get_velocity(batch.truth, noise, times)
        error = predict(self.network, noisy, batch.known, batch.mask, times) - wanted
        hidden = 1 - batch.mask
        loss: Tensor = (error.square() * hidden).sum() / (3 * hidden.sum())
        return loss

    @torch.no_grad()
    def _evaluate(self) -> None:
        """One more row of the history, by the averaged weights, on the same held-out canvases and noise each time."""
        self.average.store(self.network.parameters())
        self.average.copy_to(self.network.parameters())
        self.network.eval()
        losses = [float(self._loss(self._held_out.batch(n), "outpainter judged", n)) for n in range(HELD_OUT_BATCHES)]
        self.average.restore(self.network.parameters())
        steps = self.step - (int(self.history[-1][0]) if self.history else 0)
        self.history.append([self.step, self.sum / steps, sum(losses) / HELD_OUT_BATCHES])
        self.sum = 0.0

    def _checkpoint(self) -> None:
        save_checkpoint(
            self._path,
            {
                "identity": self.identity,
                "record": [self.step, self.sum, self.seconds, self.history],
                "network": self._accelerator.unwrap_model(self.network).state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self._optimiser.state_dict(),
            },
        )

    def _restore(self) -> None:
        state = load_checkpoint(self._path)
        if state is None:
            return
        if state.get("identity") != self.identity:
            raise RefusedError(other_run(self._path.parent))
        self._accelerator.unwrap_model(self.network).load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.average.to(self._accelerator.device)
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.sum, self.seconds, self.history = state["record"]


def other_run(folder: Path) -> str:
    """The error for a folder with another training's checkpoint or report."""
    return f"{folder} holds a training of other settings or photographs: choose another --out, or --no-resume to begin anew"
