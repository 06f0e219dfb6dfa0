"""Commands that train and measure models: ``train``, ``eval``, ``train-scorer``."""

import json as json_format
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.crop_sources import find_model
from pipeline.cli.cropping import crop_file
from pipeline.cli.made_from import is_made_from, key_of, mark
from pipeline.cli.options import (
    Config,
    Device,
    Json,
    Overrides,
    Quiet,
    Session,
    Work,
    local_folder,
    open_session,
    print_json,
    remember,
)
from pipeline.cli.training_bar import progress_bar
from pipeline.errors import MissingUpstreamError, UsageError
from pipeline.receipts import Receipt
from pipeline.resources import file_digest

if TYPE_CHECKING:
    from procrop_model.train import TrainConfig
    from stages.training import TrainSettings

Model = Annotated[
    str, typer.Option(help="Folder of a trained cropper; default: the one of --work, else the bundled one.")
]
Split = Annotated[str, typer.Option(help="Split to measure on.")]
Photos = Annotated[str, typer.Option(help="Folder of professional photographs; default: the bundled ones.")]
Folder = Annotated[str, typer.Option(help="Where the model goes.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train)
    app.command("eval")(evaluate)
    app.command("train-scorer")(train_scorer)


def train(
    overrides: Overrides = None, config: Config = "", work: Work = "work", device: Device = "auto", json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train the cropper on the weak labels of a run directory; resumes from its last checkpoint."""
    session = open_session(config, work, overrides)
    root = _trained_on(session)
    finished = root / "models" / "cropper" / "finished.json"
    key = key_of([session.recipe.train.model_dump(mode="json")], _inputs(session))
    done_before = is_made_from(finished, key)
    if not done_before:
        _train(session, root, device=device, quiet=quiet or json)
        mark(finished, key)
        remember(session)
    summary = json_format.loads(finished.read_text(encoding="utf-8"))
    if json:
        print_json(summary)
    elif not quiet:
        print(f"{_one_line(summary)}{', already done' if done_before else ''}: {finished.parent / 'cropper'}")


def _inputs(session: Session) -> list[Receipt]:
    return [*session.run.receipts("build"), *session.run.receipts("retrieve")]


def _trained_on(session: Session) -> Path:
    root: Path = local_folder(session)
    done = len(session.run.receipts("retrieve"))
    if done < session.run.plan.work_shards or not session.run.receipts("build"):
        raise MissingUpstreamError(
            "train needs the dataset and its neighbours: run 'procrop-data run' (or build, embed and retrieve) first"
        )
    return root


def _train(session: Session, root: Path, *, device: str, quiet: bool) -> None:
    import torch

    from procrop_model.train import train as fit

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    progress, close = progress_bar("train", quiet)
    try:
        fit(
            _as_config(session.recipe.train, where), root / "dataset",
            retrieve_dir=root / "retrieve", out_dir=root / "models" / "cropper", progress=progress,
        )  # fmt: skip
    finally:
        close()


def _one_line(summary: dict[str, Any]) -> str:
    return (
        f"cropper of epoch {summary['best_epoch'] + 1} of {summary['epochs']}, IoU {summary['val_iou']:.3f} on val, "
        f"trained on {summary['samples']} canvases in {summary['seconds']:.0f} s"
    )


def _as_config(settings: "TrainSettings", device: str) -> "TrainConfig":
    """The trainer's own settings from the recipe's."""
    from dataclasses import replace

    from procrop_model.train import TrainConfig

    base = TrainConfig()
    return replace(
        base,
        seed=settings.seed,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        device=device,
        batch=replace(base.batch, size=settings.batch),
        model=replace(base.model, k=settings.k),
    )


def evaluate(
    work: Work = "work", model: Model = "", split: Split = "test", config: Config = "", json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure a cropper on held-out photographs' canvases, beside baselines that do not look at the picture."""
    session = open_session(config, work, None)
    root: Path = local_folder(session)
    if not session.run.receipts("build"):
        raise MissingUpstreamError("eval needs the dataset: run 'procrop-data run' first")
    folder = find_model(model, work)
    home = root / "models" / "cropper"
    home.mkdir(parents=True, exist_ok=True)
    told = home / f"evaluation-{split}.json"
    key = key_of([split, file_digest(str(folder / "config.json"))], session.run.receipts("build"))
    if not is_made_from(told, key):
        result = _measure(folder, root / "dataset", split, quiet=quiet or json)
        told.write_text(json_format.dumps(result, indent=1), encoding="utf-8")
        mark(told, key)
    result = json_format.loads(told.read_text(encoding="utf-8"))
    if json:
        print_json({name: value for name, value in result.items() if name != "images"})
    else:
        _print_rows(result)


def _measure(folder: Path, dataset: Path, split: str, *, quiet: bool) -> dict[str, Any]:
    from procrop_model import Cropper
    from procrop_model.evaluate import evaluate as measure

    progress, close = progress_bar("eval", quiet)
    try:
        return measure(Cropper.load(folder), dataset, split, progress=progress)
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        close()


def _print_rows(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    print(f"{result['n']} canvases of {result['photos']} photographs, split {result['split']}; {result['protocol']}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = list(next(iter(result["rows"].values())))
    table.add_column("")
    for name in names:
        table.add_column(f"{name} [95 %]", justify="right")
    for method, row in result["rows"].items():
        table.add_row(method, *(f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in (row[n] for n in names)))
    Console().print(table)


def train_scorer(
    photos: Photos = "", out: Folder = "models/scorer", seed: int = 0, json: Json = False, quiet: Quiet = False
) -> None:
    """Train the aesthetic scorer on photographs against size-matched bad crops, and report its accuracy by kind of pair."""
    import torch

    from pipeline.resources import bundled
    from stages.backends.build import ModelSettings, models_of
    from stages.backends.u2net import U2NetSegmenter
    from stages.scorer_training.telling import figures_text
    from stages.train_scorer import ScorerTraining
    from stages.train_scorer import train_scorer as fit

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
    from stages.sources import read_source

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
