"""Train the embedded models on a folder of photographs: the aesthetic scorer and the small out-painter."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.progress_bar import progress_bar
from pipeline.app.training_lock import training_lock
from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled

if TYPE_CHECKING:
    from stages.training.outpainter.train import OutpainterReport
    from stages.training.scorer.recalibration import Recalibrated
    from stages.training.scorer.report_text import ScorerReport


@dataclass(frozen=True)
class ScorerRequest:
    """How the aesthetic scorer is trained.

    Args:
        photos: folder of professional photographs; empty: the bundled ones.
        out: folder for the model.
        seed: of crops, canvases and the fit.
        recalibrate: run directory whose canvases refit the calibration of the model in ``out``; empty: train.
    """

    photos: str = ""
    out: str = "models/scorer"
    seed: int = 0
    recalibrate: str = ""


@dataclass(frozen=True)
class OutpainterRequest:
    """How the small diffusion model is trained.

    Args:
        photos: folder of professional photographs; empty: the bundled ones.
        out: folder for the model and its checkpoint.
        steps: training steps.
        size: square root of the number of pixels that the model paints at.
        width: channels of the network's first level.
        batch: canvases per step.
        seed: of weights, crops and noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: whether to continue from the checkpoint in ``out``.
    """

    photos: str = ""
    out: str = "models/outpainter"
    steps: int = 20_000
    size: int = 64
    width: int = 48
    batch: int = 16
    seed: int = 0
    device: str = "auto"
    resume: bool = True


def train_scorer_model(request: ScorerRequest, *, quiet: bool = False) -> "ScorerReport":
    """Train the aesthetic scorer and give its report. Raises UsageError for a folder without enough photographs."""
    import torch

    from stages.backends.registry import ModelSettings, models_of
    from stages.backends.vision.u2net import U2NetSegmenter
    from stages.training.scorer.train import ScorerTraining, train_composition_scorer

    photos = _photo_folder(request.photos)
    torch.set_num_threads(1)  # the bundled weights were made so; more threads change the last bits
    with training_lock(Path(request.out)), progress_bar("train-scorer", quiet) as progress:
        return train_composition_scorer(
            photos,
            Path(request.out),
            ScorerTraining(seed=request.seed),
            outpainter=models_of(ModelSettings()).outpainter,
            segmenter=U2NetSegmenter(),
            progress=lambda step, done, total: progress(done, total, name=step),
        )


def recalibrate_scorer_model(request: ScorerRequest, *, quiet: bool = False) -> "Recalibrated":
    """Refit the calibration of the scorer in ``out`` on the canvases of ``recalibrate``.

    Raises UsageError, ModelError, MissingUpstreamError if the run has no canvases.
    """
    import torch

    from pipeline.app.session import open_existing
    from pipeline.core.records import Canvas
    from stages.audits.seam.canvas_samples import Canvases
    from stages.backends.vision.u2net import U2NetSegmenter
    from stages.training.scorer.recalibration import recalibrate

    tables = open_existing(request.recalibrate).run.tables()
    rows = (row for shard in tables.shards("outpaint") for row in tables.rows("outpaint", shard, Canvas))
    splits = {row.key: row.split for row in rows}
    canvases = ((canvas, splits[canvas.key]) for canvas in Canvases(tables, len(splits)))
    torch.set_num_threads(1)
    with training_lock(Path(request.out)), progress_bar("train-scorer", quiet) as progress:
        return recalibrate(
            Path(request.out), canvases, U2NetSegmenter(), request.seed,
            progress=lambda step, done, total: progress(done, total, name=step),
        )  # fmt: skip


def train_outpainter_model(request: OutpainterRequest, *, quiet: bool = False) -> "OutpainterReport":
    """Train the out-painter from its last checkpoint on, and give its report.

    Raises UsageError, ModelError, RefusedError if ``out`` holds another training, InterruptedRunError after a signal.
    """
    from stages.training.outpainter.fitting import OutpainterTraining
    from stages.training.outpainter.train import train_small_outpainter

    photos = _photo_folder(request.photos)
    settings = OutpainterTraining(
        seed=request.seed, steps=request.steps, size=request.size, width=request.width, batch=request.batch
    )
    with training_lock(Path(request.out)), progress_bar("train-outpainter", quiet) as progress:
        return train_small_outpainter(
            photos, Path(request.out), settings, device=request.device, resume=request.resume, progress=progress
        )


def _photo_folder(photos: str) -> Path:
    """The folder of photographs to train on. Raises UsageError if there is none."""
    folder = Path(photos) if photos else bundled("assets") / "photos"
    if not folder.is_dir():
        raise UsageError(f"--photos '{photos}': no such folder")
    return folder
