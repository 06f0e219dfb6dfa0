"""Commands that train models: ``train``, ``train-scorer``."""

import json as json_format
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.crop_files.inputs import find_model
from pipeline.app.result_stamp import is_made_from, key_of, mark
from pipeline.app.session import Session, local_folder, open_session, remember, require_out
from pipeline.cli.crop import crop_file
from pipeline.cli.options import Config, Device, Json, Overrides, Quiet, Work, print_json
from pipeline.cli.training_progress import progress_bar
from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.core.resources import file_digest
from pipeline.runs.receipts import Receipt

if TYPE_CHECKING:
    from procrop_model.training.train import TrainConfig
    from stages.training.cropper_settings import TrainSettings

Photos = Annotated[str, typer.Option(help="Folder of professional photographs; default: the bundled ones.")]
Folder = Annotated[str, typer.Option(help="Where the model goes.")]
Out = Annotated[str, typer.Option(help="Folder of the training run; default: models/cropper of --work.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train)
    app.command("train-scorer")(train_scorer)


def train(
    overrides: Overrides = None, config: Config = "", work: Work = "work", out: Out = "", device: Device = "auto",
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train the cropper: on the weak labels of a run directory, on public sets, or on both; resumes from its last checkpoint.

    On several GPUs: accelerate launch --multi_gpu --num_processes 8 --no_python procrop-data train
    """
    session = open_session(config, work, overrides)
    settings = session.recipe.train
    require_out(session, out)
    root = _trained_on(session)
    home = Path(out) if out else root / "models" / "cropper"
    finished = home / "finished.json"
    key = key_of([settings.model_dump(mode="json")], _inputs(session))
    # The marker knows nothing of data beyond the run directory; the trainer itself looks at them and does no work twice.
    done_before = not settings.sets and not settings.init_from and is_made_from(finished, key)
    if not done_before:
        fit_at(session, as_config(settings, device), root, home, quiet=quiet or json or not _writes())
    if not _writes():
        return
    if not done_before:
        mark(finished, key)
        if not out:
            remember(session)  # a run put elsewhere is one beside the run directory's own cropper
    summary = json_format.loads(finished.read_text(encoding="utf-8"))
    if json:
        print_json(summary)
    elif not quiet:
        print(f"{_one_line(summary)}{', already done' if done_before else ''}: {finished.parent / 'cropper'}")


def _writes() -> bool:
    """Whether this is the one that writes and tells, of the processes that ``accelerate launch`` or ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def _inputs(session: Session) -> list[Receipt]:
    return [*session.run.receipts("build"), *session.run.receipts("retrieve")]


def _trained_on(session: Session) -> Path:
    if session.recipe.train.mode != "supervised" and not (session.run.receipts("build") and _retrieved(session)):
        raise MissingUpstreamError(
            "train needs the dataset and its neighbours: run 'procrop-data run' (or build, embed and retrieve) first"
        )
    root: Path = local_folder(session)
    return root


def _retrieved(session: Session) -> bool:
    return len(session.run.receipts("retrieve")) == session.run.plan.work_shards


def _references(session: Session, root: Path) -> Path:
    """The run's own; for supervised training without any, those of the cropper that it starts from, or of the bundled one."""
    if _retrieved(session):
        return root / "retrieve"
    return find_model(session.recipe.train.init_from, session.run.store.url)


def fit_at(
    session: Session, config: "TrainConfig", root: Path, home: Path, *, quiet: bool, name: str = "train"
) -> None:
    """Train with some settings on a run's data, to a folder; done work is found done."""
    import torch

    from procrop_model.training.distributed import end
    from procrop_model.training.train import train as fit

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    progress, close = progress_bar(name, quiet)
    try:
        fit(config, root / "dataset", retrieve_dir=_references(session, root), out_dir=home, progress=progress)
    finally:
        close()
        end()


def _one_line(summary: dict[str, Any]) -> str:
    chosen = f"IoU {summary['val_iou']:.3f} on val" if summary["val_iou"] >= 0 else "no validation split"
    return (
        f"cropper of epoch {summary['best_epoch'] + 1} of {summary['epochs']}, {chosen}, "
        f"trained on {summary['samples']} canvases in {summary['seconds']:.0f} s"
    )


def as_config(settings: "TrainSettings", device: str) -> "TrainConfig":
    """The trainer's own settings from the recipe's. device: auto is a GPU where there is one."""
    from dataclasses import replace

    import torch

    from procrop_model.network.config import sizes_of
    from procrop_model.training.augment import AugmentConfig
    from procrop_model.training.ema_teacher import TeacherConfig
    from procrop_model.training.targets import TargetConfig
    from procrop_model.training.train import TrainConfig

    base = TrainConfig()
    apart = {
        "batch",
        "k",
        "model",
        "augment",
        "targets",
        "teacher",
    }  # named otherwise there, or dataclasses of their own
    plain = {name: getattr(settings, name) for name in type(settings).model_fields if name not in apart}
    return replace(
        base,
        **plain,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        batch=replace(base.batch, size=settings.batch),
        model=replace(sizes_of(settings.model.architecture), k=settings.k, **settings.model.changes()),
        augment=AugmentConfig(**settings.augment.model_dump()),
        targets=TargetConfig(**settings.targets.model_dump()),
        teacher=TeacherConfig(**settings.teacher.model_dump()),
    )


def train_scorer(
    photos: Photos = "", out: Folder = "models/scorer", seed: int = 0, json: Json = False, quiet: Quiet = False
) -> None:
    """Train the aesthetic scorer on photographs against size-matched bad crops, and report its accuracy by kind of pair."""
    import torch

    from pipeline.core.resources import bundled
    from stages.backends.registry import ModelSettings, models_of
    from stages.backends.vision.u2net import U2NetSegmenter
    from stages.training.scorer.report_text import figures_text
    from stages.training.scorer.train import ScorerTraining
    from stages.training.scorer.train import train_scorer as fit

    folder = Path(photos) if photos else bundled("assets") / "photos"
    if not folder.is_dir():
        raise UsageError(f"--photos '{photos}': no such folder")
    torch.set_num_threads(1)  # the shipped digest was made so; more threads change the last bits
    progress, close = progress_bar("train-scorer", quiet or json)
    try:
        report = fit(
            folder, Path(out), ScorerTraining(seed=seed), outpainter=models_of(ModelSettings()).outpainter,
            segmenter=U2NetSegmenter(), progress=lambda step, done, total: progress(done, total, name=step),
        )  # fmt: skip
    finally:
        close()
    if json:
        print_json(report)
    else:
        print(f"{figures_text(report)}\n\nscorer {report['digest']}: {out}")
    if report["unreadable"]:
        print(f"unreadable, left out: {', '.join(report['unreadable'])}", file=sys.stderr)
        raise typer.Exit(3)


def crop_held_out(session: Session, out: Path, top: int) -> None:
    """Crop the photographs of the test split with the run's cropper, for the report."""
    from stages.photos.source_readers import read_source

    folder, told = find_model("", session.run.store.url), out / "crops.json"
    key = key_of([top, file_digest(str(folder / "config.json"))], session.run.receipts("ingest"))
    if is_made_from(told, key):
        return
    from procrop_model import Cropper  # torch, only when there is something to crop

    cropper = Cropper.load(folder)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.jpg"):
        old.unlink()  # of a photograph that may have been taken down since
    entries = []
    for row in _held_out(session):
        file = out / f"{Path(row['uri'].split('#')[-1]).stem}.jpg"
        file.write_bytes(read_source(session.recipe.ingest.source, row["uri"]))
        entry = crop_file(cropper, file, aspect="", size="", top=top, out=None)
        entries.append({**entry, "file": file.name, "title": row["title"]})
    told.write_text(json_format.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")
    mark(told, key)


def _held_out(session: Session) -> list[dict[str, Any]]:
    tables = session.run.tables()
    rows = [row for s in tables.shards("ingest") for row in tables.rows("ingest", s, None) if row["split"] == "test"]
    return sorted(rows, key=lambda row: str(row["key"]))[:24]
