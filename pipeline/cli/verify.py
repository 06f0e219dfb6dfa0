"""Commands that distrust files: ``verify`` for a run directory, ``lint`` for anybody's WebDataset."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.session import Session, open_existing
from pipeline.app.worker_count import worker_count
from pipeline.cli.options import Json, Quiet, Work, Workers, print_json
from pipeline.core.errors import DamagedDataError, RefusedError, UsageError

if TYPE_CHECKING:
    from pipeline.checks.verify import Verification

Repair = Annotated[
    bool, typer.Option("--repair", help="Make damaged and stale shards anew; their stages are brought to their end.")
]
Paths = Annotated[list[str], typer.Argument(help="Folders, globs or tars.", metavar="PATH...")]
PLAIN_EVERY_S = 10.0
SHOW_EVERY_BYTES = 4_000_000


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("verify")(verify)
    app.command("lint")(lint)


def verify(
    work: Work = "work", repair: Repair = False, workers: Workers = 0, json: Json = False, quiet: Quiet = False
) -> None:
    """Check every byte of a run directory against its receipts; exit code 5 when something is damaged or stale."""
    session = open_existing(work)
    silent = quiet or json
    found = _verify(session, workers, silent)
    before: list[Any] = []
    if repair and not found.sound:
        before = [f for f in found.findings if f.severity != "note"]
        _say(before, json)
        before += _repair(session, found, workers, silent)
        session = open_existing(work)
        found = _verify(session, workers, silent)
    if json:
        print_json({"work": work, **found.as_json(), "repaired": [finding.as_json() for finding in before]})
    else:
        _say(found.findings, json)
        _sum_up(found, repaired=bool(before))
    if not found.sound:
        raise typer.Exit(DamagedDataError.exit_code)


def _say(findings: Sequence[Any], json: bool) -> None:
    for finding in findings:
        print(finding.line(), file=sys.stderr if json else sys.stdout)


def _sum_up(found: "Verification", *, repaired: bool) -> None:
    s = found.as_json()
    checked = f"{found.receipts} receipts, {found.files} files, {found.bytes / 1e6:.1f} MB checked"
    state = f"{s['damage']} damaged, {s['stale']} stale" if not found.sound else "all as the receipts say"
    print(f"{checked}: {state}{' (after repair)' if repaired else ''}")


def _verify(session: Session, workers: int, silent: bool) -> "Verification":
    from pipeline.checks.receipt_audit import DAMAGE, REPAIR, Finding
    from pipeline.checks.verify import verify_run as check
    from pipeline.runs.run_directory import SOURCES

    with _byte_bar("verify", silent) as (begin, progress):
        found = check(session.run, session.stages, threads=worker_count(workers), begin=begin, progress=progress)
    if not any(finding.stage == SOURCES for finding in found.findings) and _edited_sources(session):
        what = "does not list what plan.json says: it was edited"
        found.findings.insert(0, Finding(DAMAGE, f"{SOURCES}.parquet", what, REPAIR, SOURCES))
    return found


def _edited_sources(session: Session) -> bool:
    from pipeline.runs.run_directory import SOURCES
    from pipeline.shards import parquet
    from stages.photos.source_scan import SOURCES as SCHEMA
    from stages.photos.source_scan import digest_of_rows

    run = session.run
    if not run.plan.sources_digest:
        return False
    table = parquet.decode_table(run.store.read(f"{SOURCES}.parquet"))
    return bool(table.schema.names != SCHEMA.names or digest_of_rows(table) != run.plan.sources_digest)


def _repair(session: Session, found: "Verification", workers: int, silent: bool) -> list[Any]:
    from pipeline.app.progress import Display
    from pipeline.app.refresh_sources import refresh_sources
    from pipeline.checks.repair import RepairTools, repair
    from pipeline.engine.executors.local import LocalExecutor
    from pipeline.runs.run_directory import SOURCES

    display = Display(quiet=silent)
    run = session.run
    if any(finding.stage in (SOURCES, "ingest") for finding in found.findings):
        _refuse_other_photos(session, display)
    if any(finding.stage == SOURCES for finding in found.findings):
        run.store.remove(f"{SOURCES}.parquet")
        refresh_sources(session, display)

    def executor(stages: Sequence[Any]) -> LocalExecutor:
        return LocalExecutor(run, stages, workers=worker_count(workers), on_event=display.on_event)

    return repair(run, session.stages, found, RepairTools(executor, display))


def _refuse_other_photos(session: Session, display: Any) -> None:
    """Ingest can only be repaired from the photographs that it was made from."""
    from stages.photos.source_scan import scan

    settings, plan = session.recipe.ingest, session.run.plan
    with display.counting("looking at input files") as tick:
        found = scan(
            settings.source, plan.work_shards, near_bits=settings.near_duplicate_bits, limit=settings.limit, tick=tick
        )
    if found.digest != plan.sources_digest:
        raise RefusedError(
            f"'{settings.source}' no longer holds the photographs that this run was made from, so ingest cannot be repaired: "
            "put them back, or take the new ones with 'procrop-data run'"
        )


def _refuse_remote(paths: Sequence[str]) -> None:
    from pipeline.storage.fsspec_client import copy_line

    for path in paths:
        if "://" in path:
            raise UsageError(
                f"lint reads files of this machine: copy '{path}' first ({copy_line(path)}), then lint COPY"
            )


@contextmanager
def _byte_bar(what: str, silent: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """(begin(total), progress(n)) of a bar of bytes on a terminal, or of a plain line every ten seconds elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True, quiet=silent, highlight=False)
    columns = (TextColumn(what), BarColumn(24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console, transient=True, disable=silent or not console.is_terminal)
    bar = bars.add_task(what, total=None)
    lock, state = threading.Lock(), {"done": 0.0, "shown": 0.0, "total": 0.0, "last": time.monotonic()}

    def begin(total: int) -> None:
        state["total"] = total
        bars.update(bar, total=total)

    def progress(size: int) -> None:
        with lock:
            state["done"] += size
            if state["done"] - state["shown"] < SHOW_EVERY_BYTES:
                return
            state["shown"] = state["done"]
            late = time.monotonic() - state["last"] > PLAIN_EVERY_S
            state["last"] = time.monotonic() if late else state["last"]
        bars.update(bar, completed=state["done"])
        if late and not console.is_terminal:
            console.print(f"{what}: {state['done'] / 1e6:.0f} of {state['total'] / 1e6:.0f} MB")

    with bars:
        yield begin, progress


def lint(paths: Paths, json: Json = False, quiet: Quiet = False) -> None:
    """Check any WebDataset against the shard rules; exit code 5 when a rule is broken."""
    from pipeline.checks.lint.linter import Linter, find_shards

    _refuse_remote(paths)
    shards = find_shards(paths)
    with _byte_bar("lint", quiet or json) as (begin, progress):
        begin(sum(shard.stat().st_size for shard in shards.tars))
        linter = Linter(progress)
        findings = []
        for finding in linter.run(shards):
            findings.append(finding)
            if not json:
                print(finding.line())
    if json:
        print_json({**linter.summary(), "findings": [finding.as_json() for finding in findings]})
    else:
        s = linter.summary()
        print(f"{s['shards']} shards, {s['samples']} samples: {s['errors']} errors, {s['notes']} notes")
    if linter.summary()["errors"]:
        raise typer.Exit(DamagedDataError.exit_code)
