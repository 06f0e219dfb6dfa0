"""``demo``: the whole way from photographs to dataset, cropper and report, on one's own photographs or the bundled ones."""

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from pipeline.cli import eval as evaluation
from pipeline.cli import run, status, train
from pipeline.cli.options import OutputOptions, Quiet
from pipeline.core.errors import UsageError
from pipeline.core.escaping import printable

Photos = Annotated[str, typer.Option(help="Folder of photographs; default: the bundled ones.")]
DemoWork = Annotated[str, typer.Option("--work", "-w", help="Run directory (path or fsspec URL).")]


@dataclass(frozen=True)
class DemoRequest:
    """A demo. photos: folder of photographs, empty for the bundled ones; work: run directory."""

    photos: str = ""
    work: str = "work-demo"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo")(demo_command)


def demo_command(photos: Photos = "", work: DemoWork = "work-demo", quiet: Quiet = False) -> None:
    """Make a small dataset, a cropper and a report, from your photographs with --photos."""
    _demo(DemoRequest(photos=photos, work=work), OutputOptions(quiet=quiet))


def _demo(request: DemoRequest, output: OutputOptions) -> None:
    overrides = [f"ingest.source={request.photos}"] if request.photos else []
    failed = False
    try:
        run.run_command(overrides, config="demo", work=request.work, quiet=output.quiet)
    except typer.Exit:  # some photographs failed, and are listed: the others make a demo
        failed = True
    train.train_command(work=request.work, quiet=output.quiet)
    try:
        evaluation.eval_command(work=request.work, quiet=output.quiet)
    except UsageError as error:  # a few photographs may leave no canvas to measure on: the rest is there
        print(printable(f"the cropper is trained, but was not measured: {error}"), file=sys.stderr)
    status.report_command(work=request.work, quiet=output.quiet)
    if not output.quiet:
        print(
            f"look at {request.work}/report/index.html; the dataset is {request.work}/dataset, "
            f"the cropper {request.work}/models/cropper/cropper"
        )
    if failed:
        raise typer.Exit(3)
