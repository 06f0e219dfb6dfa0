"""Commands that train models: ``train``, ``train-scorer`` and ``train-outpainter``."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.app.cropper.train import TrainRequest, TrainSummary
from pipeline.app.train_backends import OutpainterRequest, ScorerRequest
from pipeline.cli.options import Config, Device, Json, OutputOptions, Overrides, Quiet, Work, print_json

Photos = Annotated[str, typer.Option(help="Folder of professional photographs; default: the bundled ones.")]
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
        f"trained on {summary['samples']} canvases in {summary['seconds']:.0f} s"
    )


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
            f"out-painter of {request.steps} steps, held-out loss {report['held_out_loss']:.4f}, digest {report['digest']}, "
            f"trained in {report['seconds']:.0f} s{done}: {request.out}"
        )
