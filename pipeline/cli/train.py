"""Commands that train models: ``train``, ``train-bundled``, ``train-scorer`` and ``train-outpainter``."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.app.bundled_model.train import BundledReport, BundledRequest
from pipeline.app.cropper.train import TrainRequest, TrainSummary
from pipeline.app.train_backends import OutpainterRequest, ScorerRequest
from pipeline.cli.options import Config, Device, Json, OutputOptions, Overrides, Quiet, Work, Workers, print_json
from pipeline.cli.run import AcceptChange, exit_if_failed
from pipeline.core.units import counted, duration_text

Photos = Annotated[str, typer.Option(help="Folder of professional photographs; default: the bundled ones.")]
PhotoFolders = Annotated[
    list[str] | None,
    typer.Option("--photos", help="Folder of photographs; repeatable; default: assets:photos, the bundled ones."),
]
Model = Annotated[str, typer.Option("--out", help="Folder for the cropper and its photographs.csv; it is replaced.")]
References = Annotated[
    int,
    typer.Option(help="References that the model keeps, with weights in half precision; 0: all, as trained.", min=0),
]
Folder = Annotated[str, typer.Option(help="Folder for the model.")]
Out = Annotated[str, typer.Option(help="Folder of the training run; default: models/cropper of --work.")]
Seed = Annotated[int, typer.Option(help="Seed of all random choices.")]
Recalibrate = Annotated[
    str, typer.Option(help="Refit only the calibration of --out, on the canvases of this run directory.")
]
Steps = Annotated[int, typer.Option(help="Training steps.")]
Size = Annotated[int, typer.Option(help="Square root of the number of pixels that the model paints at.")]
Width = Annotated[int, typer.Option(help="Channels of the network's first level; 48 gives 23 MB of weights.")]
Batch = Annotated[int, typer.Option(help="Canvases per step.")]
Resume = Annotated[bool, typer.Option(help="Continue from the checkpoint in --out; --no-resume starts again.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train_command)
    app.command("train-bundled")(train_bundled_command)
    app.command("train-scorer")(train_scorer_command)
    app.command("train-outpainter")(train_outpainter_command)


def train_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", out: Out = "", device: Device = "auto",
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train the cropper: on the weak labels of a run directory, on public sets, or on both; resumes from its last checkpoint.

    On several GPUs: accelerate launch --multi_gpu --num_processes 8 --no_python procrop-data train
    """
    request = TrainRequest(config=config, work=work, overrides=overrides or (), out=out, device=device)
    _train(request, OutputOptions(json=json, quiet=quiet))


def _train(request: TrainRequest, output: OutputOptions) -> None:
    from pipeline.app.cropper.train import train_cropper

    report = train_cropper(request, quiet=output.silent)
    if report is None:
        return
    if output.json:
        print_json(report.summary)
    elif not output.quiet:
        print(f"{_one_line(report.summary)}{', already done' if report.already_done else ''}: {report.folder}")


def _one_line(summary: TrainSummary) -> str:
    validation = f"IoU {summary['val_iou']:.3f} on val" if summary["val_iou"] >= 0 else "no validation split"
    return (
        f"cropper of epoch {summary['best_epoch'] + 1} of {summary['epochs']}, {validation}, "
        f"trained on {summary['samples']:,} canvases in {duration_text(summary['seconds'])}"
    )


def train_bundled_command(
    overrides: Overrides = None, photos: PhotoFolders = None, work: Work = "work", out: Model = "models/bundled",
    references: References = 100, workers: Workers = 0, device: Device = "auto", accept_change: AcceptChange = False,
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Make the bundled cropper again from folders of photographs: join them, run the recipe bundled, train; resumes."""
    request = BundledRequest(
        photos=photos or (), work=work, out=out, overrides=overrides or (), workers=workers, device=device,
        accept_change=accept_change, references=references,
    )  # fmt: skip
    _train_bundled(request, OutputOptions(json=json, quiet=quiet))


def _train_bundled(request: BundledRequest, output: OutputOptions) -> None:
    from pipeline.app.bundled_model.train import train_bundled
    from pipeline.app.progress import Display

    report = train_bundled(request, Display(quiet=output.silent), quiet=output.silent)
    if output.json:
        print_json(_bundled_json(report))
    elif not output.quiet:
        done = "" if report.replaced else ", already done"
        print(
            f"{_one_line(report.trained.summary)}, from {counted(report.listed, 'photograph')}{done}: {report.folder}"
        )
    exit_if_failed(report.run.failed_samples())


def _bundled_json(report: BundledReport) -> dict[str, object]:
    return {
        "photographs": report.photographs, "listed": report.listed, "replaced": report.replaced,
        "folder": str(report.folder), "work": report.run.work, "failed": report.run.failed_samples(),
        "cropper": report.trained.summary,
    }  # fmt: skip


def train_scorer_command(
    photos: Photos = "", out: Folder = "models/scorer", recalibrate: Recalibrate = "", seed: Seed = 0, json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train the aesthetic scorer on photographs against size-matched bad crops, and report its accuracy by kind of pair."""
    request = ScorerRequest(photos=photos, out=out, seed=seed, recalibrate=recalibrate)
    _train_scorer(request, OutputOptions(json=json, quiet=quiet))


def _recalibrate(request: ScorerRequest, output: OutputOptions) -> None:
    from pipeline.app.train_backends import recalibrate_scorer_model

    done = recalibrate_scorer_model(request, quiet=output.silent)
    calibration = done.model.calibration
    if output.json:
        print_json({"calibration": asdict(calibration), "cross_validated": done.cross_validated})
    elif not output.quiet:
        level = ", ".join(f"{value:.3f}" for value in calibration.level)
        print(f"level {level}; scale {calibration.scale:.3f}; lead {calibration.lead:.2f}: {request.out}")


def _train_scorer(request: ScorerRequest, output: OutputOptions) -> None:
    from pipeline.app.train_backends import train_scorer_model
    from stages.training.scorer.report_text import figures_text

    if request.recalibrate:
        _recalibrate(request, output)
        return
    report = train_scorer_model(request, quiet=output.silent)
    if output.json:
        print_json(report)
    else:
        print(f"{figures_text(report)}\n\nscorer {report['digest']}: {request.out}")
    if report["unreadable"]:
        print(f"unreadable, left out: {', '.join(report['unreadable'])}", file=sys.stderr)
        raise typer.Exit(3)


def train_outpainter_command(
    photos: Photos = "", out: Folder = "models/outpainter", steps: Steps = 20_000, size: Size = 64, width: Width = 48,
    batch: Batch = 16, seed: Seed = 0, device: Device = "auto", resume: Resume = True, json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a small diffusion model that continues photographs beyond their frame; resumes from its last checkpoint."""
    request = OutpainterRequest(
        photos=photos,
        out=out,
        steps=steps,
        size=size,
        width=width,
        batch=batch,
        seed=seed,
        device=device,
        resume=resume,
    )
    _train_outpainter(request, OutputOptions(json=json, quiet=quiet))


def _train_outpainter(request: OutpainterRequest, output: OutputOptions) -> None:
    from pipeline.app.train_backends import train_outpainter_model

    report = train_outpainter_model(request, quiet=output.silent)
    if output.json:
        print_json(report)
    elif not output.quiet:
        done = ", already done" if "already_done" in report else ""
        print(
            f"out-painter of {counted(request.steps, 'step')}, held-out loss {report['held_out_loss']:.4f}, "
            f"digest {report['digest']}, trained in {duration_text(report['seconds'])}{done}: {request.out}"
        )
