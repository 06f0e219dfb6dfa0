"""Make the bundled cropper again: join folders of photographs, run the recipe ``bundled``, train, replace the model folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.cropper.train import TrainReport, TrainRequest
from pipeline.app.run_stages import RunReport, RunRequest
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.app.bundled_model.photo_folders import FolderPhotograph
    from pipeline.app.progress import Display

RECIPE = "bundled"
BUNDLED_PHOTOS = "assets:photos"
JOINED = "photographs"  # folder of the run directory
SLIM = "models/bundled"  # in the run directory: the smaller copy of the trained model
LIST = "photographs.csv"


@dataclass(frozen=True)
class BundledRequest:
    """From which photographs the bundled cropper is made, and where it goes.

    Args:
        photos: folders of photographs, each with a ``credits.csv`` or without; empty: the bundled photographs.
        work: run directory, a folder of this machine.
        out: folder of the model, which is replaced.
        overrides: ``key=value`` changes of the recipe ``bundled``.
        workers: worker processes of the stages; 0: as many as fit.
        device: of the training: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU if there is one.
        accept_change: move results of another recipe to ``lineage/`` and make them again.
        references: how many the model keeps, those that cover the others, with weights in half precision; 0: all, as trained.
    """

    photos: Sequence[str] = ()
    work: str = "work"
    out: str = "models/bundled"
    overrides: Sequence[str] = ()
    workers: int = 0
    device: str = "auto"
    accept_change: bool = False
    references: int = 100


@dataclass(frozen=True)
class BundledReport:
    """What the command did.

    Args:
        photographs: number of joined files.
        listed: number of photographs in ``photographs.csv``: those that were read, without copies and near-duplicates.
        run: what the stages did.
        trained: the training.
        folder: of the model.
        replaced: whether the model folder is new; False if it held this model already.
    """

    photographs: int
    listed: int
    run: RunReport
    trained: TrainReport
    folder: Path
    replaced: bool


def train_bundled(request: BundledRequest, display: "Display", *, quiet: bool = False) -> BundledReport:
    """Do what is not done yet of the chain: joined folders, stages, training, model folder.

    Raises UsageError for an unreadable folder of photographs and for places that contain one another, and what
    ``run_stages_of`` and ``train_cropper`` raise. Nothing is written before the folders are read.
    """
    from pipeline.app.bundled_model.joined_folder import join_photographs
    from pipeline.app.bundled_model.photograph_list import photograph_list
    from pipeline.app.bundled_model.replace_model import replace_model, require_replaceable
    from pipeline.app.cropper.train import train_cropper
    from pipeline.app.run_stages import run_stages_of
    from pipeline.app.session import open_existing, open_session

    out, joined = Path(request.out), _joined_folder(request)
    photographs = _read_folders(request)
    require_replaceable(out)
    overrides = _overrides(request, joined)
    open_session(RECIPE, request.work, overrides)  # refuses another run's directory before anything is linked
    join_photographs(photographs, joined)
    display.message(f"{len(photographs)} photographs in '{joined}'")
    run = run_stages_of(_run_request(request, overrides), display)
    display.lost_files(run.lost_files)
    trained = train_cropper(TrainRequest(RECIPE, request.work, overrides, device=request.device), quiet=quiet)
    assert trained is not None, "_joined_folder has refused other processes than the first"
    table = photograph_list(open_existing(request.work).run.tables(), joined)
    replaced = replace_model(_slimmed(trained.folder, request), {LIST: table}, out)
    return BundledReport(len(photographs), table.count(b"\n") - 1, run, trained, out, replaced)


def _slimmed(trained: Path, request: BundledRequest) -> Path:
    """The trained model folder, or a smaller copy of it in the run directory."""
    from procrop_model.model_folder.slim import slim_model

    if request.references == 0:
        return trained
    small = Path(request.work, SLIM)
    slim_model(trained, small, request.references)
    return small


def _run_request(request: BundledRequest, overrides: Sequence[str]) -> RunRequest:
    return RunRequest(
        config=RECIPE,
        work=request.work,
        overrides=overrides,
        workers=request.workers,
        accept_change=request.accept_change,
    )


def _joined_folder(request: BundledRequest) -> Path:
    """Where the links go. Raises UsageError for a remote run directory, and in each of several processes."""
    from pipeline.storage.open_store import open_store

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "train-bundled runs stages, which one process starts: run it without a launcher, or run the recipe with "
            f"'procrop-data run --config {RECIPE}' and launch 'procrop-data train' alone"
        )
    root = open_store(request.work).local_root
    if root is None:
        raise UsageError(f"--work '{request.work}' is remote: train-bundled links photographs, so name a local folder")
    return root.resolve() / JOINED


def _read_folders(request: BundledRequest) -> "dict[str, FolderPhotograph]":
    """The photographs of all folders by their names in the joined folder. A folder that is named twice is read once."""
    from pipeline.app.bundled_model.photo_folders import joined_names, local_photo_folder, photographs_in

    folders = {local_photo_folder(spec).resolve(): spec for spec in reversed(request.photos or (BUNDLED_PHOTOS,))}
    for folder, spec in folders.items():
        _refuse_nested(request, folder, spec)
    return joined_names(photograph for spec in reversed(folders.values()) for photograph in photographs_in(spec))


def _refuse_nested(request: BundledRequest, folder: Path, spec: str) -> None:
    """Raise UsageError if pictures that the command makes would become photographs, or its links would lead to links."""
    for option, place in (("--work", request.work), ("--out", request.out)):
        if Path(place).resolve().is_relative_to(folder):
            raise UsageError(
                f"{option} '{place}' is inside of --photos '{spec}': its pictures would become photographs; name another folder"
            )
    if folder.is_relative_to(Path(request.work, JOINED).resolve()):
        raise UsageError(f"--photos '{spec}' is the joined folder of --work: name the folders that it was joined from")


def _overrides(request: BundledRequest, joined: Path) -> list[str]:
    if any(text.partition("=")[0] == "ingest.source" for text in request.overrides):
        raise UsageError("ingest.source of train-bundled is the joined folder: name folders with --photos")
    return [*request.overrides, f"ingest.source={joined}"]
