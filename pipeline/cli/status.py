"""Commands that look at a run directory: ``status`` and ``report``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.app.session import Session, local_folder, open_existing
from pipeline.cli.options import Json, Quiet, Work, print_json
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.runs.status import DroppedSample, StageStatus

Failed = Annotated[bool, typer.Option("--failed", help="List the failed and rejected samples instead.")]
Missing = Annotated[bool, typer.Option("--missing", help="List the shards that are to do, by stage, instead.")]
Slurm = Annotated[
    bool, typer.Option("--slurm", help="With --missing: one array expression (0-3,7) of one stage, alone.")
]
StageName = Annotated[
    str, typer.Option("--stage", help="With --missing: of this stage; --slurm takes the first to do.")
]
Out = Annotated[str, typer.Option(help="The page; default: report/index.html in --work.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("status")(status)
    app.command("report")(report)


def status(
    work: Work = "work", failed: Failed = False, missing: Missing = False, slurm: Slurm = False, stage: StageName = "",
    json: Json = False,
) -> None:  # fmt: skip
    """Show how far a run is: the funnel by stage, what was dropped and why, what is missing."""
    from pipeline.runs.status import failed_samples, funnel, rejected_samples

    if (slurm or stage) and not missing:
        raise UsageError(f"{'--slurm' if slurm else '--stage'} belongs to --missing: status --missing --slurm")
    if slurm and json:
        raise UsageError("--slurm prints an array expression alone: leave out --json")
    session = open_existing(work)
    if missing:
        _print_missing(_missing(session, stage, first_only=slurm), slurm=slurm, json=json)
        return
    if failed:
        rows = [*failed_samples(session.run, session.stages), *rejected_samples(session.run, session.stages)]
        if json:
            print_json(rows)
        else:
            _print_samples(rows)
        return
    stages = funnel(session.run, session.stages)
    if json:
        print_json({"work": work, "name": session.recipe.name, "stages": [stage.as_json() for stage in stages]})
    else:
        _print_funnel(session.recipe.name, work, stages)


def _missing(session: Session, name: str, *, first_only: bool) -> dict[str, list[int]]:
    """Shards to do by stage: of the stages called ``name`` (``refine`` means all its rounds), or of all."""
    from pipeline.engine.completion import shards_to_do

    chosen = [s for s in session.stages if not name or name in (s.name, s.name.split("/")[0])]
    if not chosen:
        raise UsageError(f"--stage {name}: stages are {', '.join(s.name for s in session.stages)}")
    found: dict[str, list[int]] = {}
    for stage in chosen:
        shards = shards_to_do(stage, session.run)
        if shards:
            found[stage.name] = shards
            if first_only:
                break
    return found


def _print_missing(found: dict[str, list[int]], *, slurm: bool, json: bool) -> None:
    from pipeline.runs.status import ranges

    if json:
        print_json({"missing": found})
    elif slurm:
        print(ranges(next(iter(found.values()), [])))
    else:
        for stage, shards in found.items():
            print(f"{stage}: {ranges(shards)}")


def _print_funnel(name: str, work: str, stages: "Sequence[StageStatus]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name} in {work}", title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("stage")
    for column in ("shards", "in", "kept", "rejected", "failed", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("reasons")
    for s in stages:
        reasons = ", ".join(f"{word} {count}" for word, count in {**s.rejected, **s.failed}.items())
        rejected, failed = sum(s.rejected.values()), sum(s.failed.values())
        cells = (f"{s.done}/{s.total}", s.n_in, s.kept, rejected, failed, f"{sum(s.seconds.values()):.1f}")
        table.add_row(s.stage, *(str(cell) for cell in cells), reasons)
    Console().print(table)


def _print_samples(rows: "Sequence[DroppedSample]") -> None:
    for row in rows:
        print(f"{row['stage']}\t{row['status']}\t{row['reason']}\t{row['key']}\t{row['detail']}")


def report(work: Work = "work", out: Out = "", quiet: Quiet = False) -> None:
    """Write one self-contained HTML page about a run: funnel, scores, examples, training, held-out crops."""
    from pipeline.cli.train import crop_held_out
    from pipeline.report import write_report

    session = open_existing(work)
    root: Path = local_folder(session, [])
    page = Path(out) if out else root / "report" / "index.html"
    crops = root / "report" / "crops"
    if (root / "models" / "cropper" / "cropper" / "config.json").is_file():
        crop_held_out(session, crops, top=3)
    write_report(session.run, session.stages, models_dir=root / "models", crops_dir=crops, out=page)
    if not quiet:
        print(f"report: {page}")
