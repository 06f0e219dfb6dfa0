"""``train-outpainter``: a small diffusion model of one's own photographs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Device, Json, Quiet, print_json
from pipeline.cli.train import Folder, Photos
from pipeline.cli.training_progress import progress_bar
from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled

Steps = Annotated[int, typer.Option(help="Steps of training.")]
Size = Annotated[int, typer.Option(help="Square root of the pixels that the model paints at.")]
Width = Annotated[int, typer.Option(help="Channels of the network's first level; 48 makes 23 MB of weights.")]
Batch = Annotated[int, typer.Option(help="Canvases a step.")]
Resume = Annotated[bool, typer.Option(help="Go on from the checkpoint in --out; --no-resume begins anew.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("train-outpainter")(train_outpainter)


def train_outpainter(
    photos: Photos = "", out: Folder = "models/outpainter", steps: Steps = 20_000, size: Size = 64, width: Width = 48,
    batch: Batch = 16, seed: int = 0, device: Device = "auto", resume: Resume = True, json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a small diffusion model that carries photographs on beyond their frame; goes on from its last checkpoint."""
    from stages.training.outpainter.fitting import OutpainterTraining
    from stages.training.outpainter.train import train_outpainter as fit

    folder = Path(photos) if photos else bundled("assets") / "photos"
    if not folder.is_dir():
        raise UsageError(f"--photos '{photos}': no such folder")
    settings = OutpainterTraining(seed=seed, steps=steps, size=size, width=width, batch=batch)
    progress, close = progress_bar("train-outpainter", quiet or json)
    try:
        report = fit(folder, Path(out), settings, device=device, resume=resume, progress=progress)
    finally:
        close()
    if json:
        print_json(report)
    elif not quiet:
        done = ", already done" if "already_done" in report else ""
        print(
            f"out-painter of {steps} steps, held-out loss {report['held_out_loss']:.4f}, digest {report['digest']}, "
            f"trained in {report['seconds']:.0f} s{done}: {out}"
        )
