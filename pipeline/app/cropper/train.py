"""Train the cropper on a run directory, on public sets, or on both."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pipeline.app.crop_files.inputs import find_model
from pipeline.app.cropper.scored_photographs import scored_photographs
from pipeline.app.progress_bar import progress_bar
from pipeline.app.result_stamp import is_made_from, key_of, mark
from pipeline.app.session import Session, local_folder, open_session, require_local_output, save_recipe
from pipeline.app.training_lock import training_lock
from pipeline.core.errors import MissingUpstreamError
from pipeline.core.processor import device_for, slow_precision, usable_cores

if TYPE_CHECKING:
    from procrop_model.training.train import TrainConfig
    from stages.training.cropper_settings import TrainSettings

_log = logging.getLogger("procrop-data")
# Settings that the trainer's configuration holds under another name, or as a dataclass of its own.
BELOW = 0.05  # typical crops reach a little below the least share of the training views, and up to the whole image
CONVERTED = {"scored_windows", "batch", "k", "model", "augment", "targets", "teacher"}


@dataclass(frozen=True)
class TrainRequest:
    """What a cropper is trained on, and where it goes.

    Args:
        config: recipe by name or file; empty: the recipe of the run directory, or the default one for a new directory.
        work: run directory, a path or fsspec URL.
        overrides: ``key=value`` changes of the recipe.
        out: folder of the training run; empty: ``models/cropper`` of the run directory.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU if there is one.
    """

    config: str = ""
    work: str = "work"
    overrides: Sequence[str] = ()
    out: str = ""
    device: str = "auto"


class TrainSummary(TypedDict):
    """The part of ``finished.json`` that is printed. val_iou: -1 without a validation split. seconds: of the training."""

    val_iou: float
    best_epoch: int
    epochs: int
    samples: int
    seconds: float


@dataclass(frozen=True)
class TrainReport:
    """A finished training. already_done: whether an earlier command had finished it; folder: of the cropper."""

    summary: TrainSummary
    folder: Path
    already_done: bool


def train_cropper(request: TrainRequest, *, quiet: bool = False) -> TrainReport | None:
    """Train from the last checkpoint on, unless the training is finished; None in all but the first of several processes.

    Raises UsageError, MissingUpstreamError, RefusedError, and InterruptedRunError after SIGINT or SIGTERM.
    """
    session = open_session(request.config, request.work, request.overrides, start=False)
    settings = session.recipe.train
    require_local_output(session, request.out)
    root = _training_data(session)
    home = Path(request.out) if request.out else root / "models" / "cropper"
    finished = home / "finished.json"
    receipts = [*session.run.receipts("build"), *session.run.receipts("retrieve")]
    key = key_of([settings.model_dump(mode="json")], receipts)
    # The stamp covers the run directory alone; with other data, the trainer itself decides whether it is finished.
    already_done = not settings.sets and not settings.init_from and is_made_from(finished, key)
    if not already_done:
        config = train_config_of(settings, request.device)
        with _locked(home):
            fit_cropper(session, config, root, home, quiet=quiet or not _is_main_process())
    if not _is_main_process():
        return None
    if not already_done:
        mark(finished, key)
        if not request.out:
            save_recipe(session)  # a model in another folder is not the run directory's own cropper
    summary: TrainSummary = json.loads(finished.read_text(encoding="utf-8"))
    return TrainReport(summary, home / "cropper", already_done)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the folder of a training: two of them would write the same checkpoint. Raises HeldError with the owner."""
    if not _is_main_process():
        yield
        return
    with training_lock(home):
        yield


def _is_main_process() -> bool:
    """Whether this is the process that writes, of those that ``accelerate launch`` or ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def _training_data(session: Session) -> Path:
    """The run directory as a local folder. Raises MissingUpstreamError if training needs a dataset that it does not have."""
    if session.recipe.train.mode != "supervised" and not (session.run.receipts("build") and _has_neighbours(session)):
        raise MissingUpstreamError(
            "train needs the dataset and its neighbours: run 'procrop-data run' (or build, embed and retrieve) first"
        )
    return local_folder(session)


def _has_neighbours(session: Session) -> bool:
    return len(session.run.receipts("retrieve")) == session.run.plan.work_shards


def _references(session: Session, root: Path) -> Path:
    """Folder of the reference photographs: the run's own, else those of the cropper that supervised training starts from."""
    if _has_neighbours(session):
        return root / "retrieve"
    return find_model(session.recipe.train.init_from, session.run.store.url)


def fit_cropper(
    session: Session, config: "TrainConfig", root: Path, home: Path, *, quiet: bool, name: str = "train"
) -> None:
    """Train with ``config`` on the dataset below ``root`` and write the run to ``home``; a finished run is left as it is.

    name: label of the progress bar.
    """
    import torch

    from procrop_model.training.distributed import end
    from procrop_model.training.train import train

    windows = session.recipe.train.scored_windows if config.mode != "supervised" else 0
    if not config.taught and not config.init_from:
        taught = scored_photographs(session, config.model.answer, windows, home, quiet=quiet)
        config = replace(config, taught=str(taught or ""))
    torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    if warning := slow_precision(config.precision, config.device):
        _log.warning(warning)
    try:
        with progress_bar(name, quiet) as progress:
            train(config, root / "dataset", retrieve_dir=_references(session, root), out_dir=home, progress=progress)
    finally:
        end()


def train_config_of(settings: "TrainSettings", device: str) -> "TrainConfig":
    """The trainer's configuration for a recipe's settings. device: ``auto`` is a GPU if there is one."""
    import torch

    from procrop_model.network.config import PUBLISHED, sizes_of
    from procrop_model.training.augment import AugmentConfig
    from procrop_model.training.ema_teacher import TeacherConfig
    from procrop_model.training.hungarian_matcher import ALPHA
    from procrop_model.training.targets import TargetConfig
    from procrop_model.training.train import TrainConfig

    base = TrainConfig()
    sizes = sizes_of(settings.model.architecture)
    least, kept = settings.augment.fill[0], settings.augment.kept
    answer = replace(sizes.answer, fill=(round(max(least - BELOW, BELOW), 4), 1.0), kept=kept)
    same = {name: getattr(settings, name) for name in type(settings).model_fields if name not in CONVERTED}
    return replace(
        base,
        **same,
        device=device_for(device, torch.cuda.device_count()),
        batch=replace(base.batch, size=settings.batch),
        model=replace(sizes, answer=answer, k=settings.k, **settings.model.changes()),
        loss=replace(base.loss, alpha=ALPHA) if sizes.architecture == PUBLISHED else base.loss,
        augment=AugmentConfig(**settings.augment.model_dump()),
        targets=TargetConfig(**settings.targets.model_dump()),
        teacher=TeacherConfig(**settings.teacher.model_dump()),
    )
