"""Commands that show the state of a run directory: ``status`` and ``report``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.app.run_report import ReportRequest
from pipeline.app.session import Session, open_existing
from pipeline.cli.options import Json, OutputOptions, Quiet, Work, print_json
from pipeline.core.console import plain_console
from pipeline.core.errors import UsageError
from pipeline.core.escaping import printable
from pipeline.core.units import duration_text

if TYPE_CHECKING:
    from pipeline.runs.status import DroppedSample, StageStatus

Failed = Annotated[bool, typer.Option("--failed", help="List the failed and rejected samples instead.")]
Missing = Annotated[bool, typer.Option("--missing", help="List the shards that are not done, by stage, instead.")]
Slurm = Annotated[
    bool, typer.Option("--slurm", help="With --missing: only one array expression (0-3,7), of one stage.")
]
StageName = Annotated[
    str, typer.Option("--stage", help="With --missing: of this stage; --slurm takes the first that is not done.")
]
Out = Annotated[str, typer.Option(help="The page; default: report/index.html in --work.")]


@dataclass(frozen=True)
class StatusRequest:
    """What is shown of a run directory: the funnel by stage, or one of two lists.

    Args:
        work: run directory, a path or fsspec URL.
        failed: list failed and rejected samples.
        missing: list shards that are not done.
        slurm: with ``missing``, print one array expression of one stage.
        stage: with ``missing``, the stage by name; its verb stands for all its rounds.
    """

    work: str = "work"
    failed: bool = False
    missing: bool = False
    slurm: bool = False
    stage: str = ""


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("status")(status_command)
    app.command("report")(report_command)


def status_command(
    work: Work = "work", failed: Failed = False, missing: Missing = False, slurm: Slurm = False, stage: StageName = "",
    json: Json = False,
) -> None:  # fmt: skip
    """Show how far a run is: the funnel by stage, what was dropped and why, what is missing."""
    request = StatusRequest(work=work, failed=failed, missing=missing, slurm=slurm, stage=stage)
    _status(request, OutputOptions(json=json))


def _status(request: StatusRequest, output: OutputOptions) -> None:
    from pipeline.runs.status import failed_samples, funnel, rejected_samples
    from stages.publishing.licence_report import licences_of_run

    if (request.slurm or request.stage) and not request.missing:
        option = "--slurm" if request.slurm else "--stage"
        raise UsageError(f"{option} belongs to --missing: status --missing --slurm")
    if request.slurm and output.json:
        raise UsageError("--slurm prints only an array expression: leave out --json")
    session = open_existing(request.work)
    if request.missing:
        shards = missing_shards(session, request.stage, first_only=request.slurm)
        _print_missing(shards, slurm=request.slurm, json=output.json)
        return
    if request.failed:
        rows = [*failed_samples(session.run, session.stages), *rejected_samples(session.run, session.stages)]
        if output.json:
            print_json(rows)
        else:
            _print_samples(rows)
        return
    stages, licences = funnel(session.run, session.stages), licences_of_run(session.run.store)
    if output.json:
        body = {"work": request.work, "name": session.recipe.name, "stages": [stage.as_json() for stage in stages]}
        print_json(body if licences is None else {**body, "licences": licences.counts})
    else:
        _print_funnel(session.recipe.name, request.work, stages)
        if licences is not None:
            print(f"{licences.line}. {licences.verdict}")


def missing_shards(session: Session, name: str, *, first_only: bool) -> dict[str, list[int]]:
    """Shards that are not done, by stage: of the stages called ``name`` (``refine`` means all its rounds), or of all.

    first_only: stop at the first stage that has some. Raises UsageError for an unknown stage.
    """
    from pipeline.engine.completion import shards_to_do

    stages = [s for s in session.stages if not name or name in (s.name, s.verb)]
    if not stages:
        raise UsageError(f"--stage {name}: stages are {', '.join(s.name for s in session.stages)}")
    missing: dict[str, list[int]] = {}
    for stage in stages:
        shards = shards_to_do(stage, session.run)
        if shards:
            missing[stage.name] = shards
            if first_only:
                break
    return missing


def _print_missing(missing: Mapping[str, Sequence[int]], *, slurm: bool, json: bool) -> None:
    from pipeline.runs.status import ranges

    if json:
        print_json({"missing": missing})
    elif slurm:
        print(ranges(next(iter(missing.values()), [])))
    else:
        for stage, shards in missing.items():
            print(f"{stage}: {ranges(shards)}")


def _print_funnel(name: str, work: str, stages: "Sequence[StageStatus]") -> None:
    from rich.table import Table

    table = Table(title=f"{name} in {work}", title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("stage")
    for column in ("shards", "in", "kept", "rejected", "failed", "work"):
        table.add_column(column, justify="right")
    table.add_column("reasons")
    for s in stages:
        reasons = ", ".join(f"{word} {count:,}" for word, count in {**s.rejected, **s.failed}.items())
        rejected, failed = sum(s.rejected.values()), sum(s.failed.values())
        counts = (f"{number:,}" for number in (s.n_in, s.kept, rejected, failed))
        table.add_row(s.stage, f"{s.done:,}/{s.total:,}", *counts, duration_text(sum(s.seconds.values())), reasons)
    plain_console().print(table)


def _print_samples(rows: "Sequence[DroppedSample]") -> None:
    for row in rows:
        print(
            f"{row['stage']}\t{row['status']}\t{row['reason']}\t{printable(row['file'] or row['key'])}\t{_cause(row)}"
        )


def _cause(row: "DroppedSample") -> str:
    """The detail without the file's name, which stands before it."""
    return printable(row["detail"].removeprefix(f"{row['file']}: "))


def report_command(work: Work = "work", out: Out = "", quiet: Quiet = False) -> None:
    """Write one self-contained HTML page about a run: funnel, scores, examples, training, held-out crops."""
    _report(ReportRequest(work=work, out=out), OutputOptions(quiet=quiet))


def _report(request: ReportRequest, output: OutputOptions) -> None:
    from pipeline.app.run_report import write_run_report

    page = write_run_report(request)
    if not output.quiet:
        print(f"report: {page}")
