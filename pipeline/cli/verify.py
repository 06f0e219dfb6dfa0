"""Commands that check files: ``verify`` for a run directory, ``lint`` for any WebDataset."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.app.session import open_existing
from pipeline.app.verify_run import VerifyRequest
from pipeline.cli.options import Json, OutputOptions, Quiet, Work, Workers, print_json
from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.core.units import counted, size_text

if TYPE_CHECKING:
    from pipeline.checks.receipt_audit import Finding
    from pipeline.checks.verify import Verification

Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Make damaged and stale shards again (their stages are completed), and remove what dead writers left.",
    ),
]
Provenance = Annotated[
    bool,
    typer.Option("--provenance", help="Also check that each image says in XMP how it came to be, and whose it is."),
]
Paths = Annotated[list[str], typer.Argument(help="Folders, globs or tars.", metavar="PATH...")]


@dataclass(frozen=True)
class LintRequest:
    """Folders, globs and tar files with the shards of a WebDataset. provenance: check the XMP of images, too."""

    paths: Sequence[str]
    provenance: bool = False


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("verify")(verify_command)
    app.command("lint")(lint_command)


def verify_command(
    work: Work = "work", repair: Repair = False, workers: Workers = 0, json: Json = False, quiet: Quiet = False
) -> None:
    """Check every byte of a run directory against its receipts; exit code 5 when something is damaged or stale."""
    _verify(VerifyRequest(work=work, repair=repair, workers=workers), OutputOptions(json=json, quiet=quiet))


def _verify(request: VerifyRequest, output: OutputOptions) -> None:
    from pipeline.app.verify_run import check_session, repair_session, sweep_session

    session = open_existing(request.work)
    result = check_session(session, request.workers, quiet=output.silent)
    repaired: list[Finding] = []
    if request.repair and not result.sound:
        repaired = [finding for finding in result.findings if finding.severity != "note"]
        _print_findings(repaired, output)
        repaired += repair_session(session, result, request.workers, quiet=output.silent)
    swept = sweep_session(session) if request.repair else []
    if repaired or swept:
        _print_findings(swept, output)
        repaired += swept
        result = check_session(open_existing(request.work), request.workers, quiet=output.silent)
    if output.json:
        findings = [finding.as_json() for finding in repaired]
        print_json({"work": request.work, **result.as_json(), "repaired": findings})
    else:
        _print_findings(result.findings, output)
        _print_totals(result, repaired=bool(repaired))
    if not result.sound:
        raise typer.Exit(DamagedDataError.exit_code)


def _print_findings(findings: "Iterable[Finding]", output: OutputOptions) -> None:
    for finding in findings:
        print(finding.line(), file=sys.stderr if output.json else sys.stdout)


def _print_totals(result: "Verification", *, repaired: bool) -> None:
    s = result.as_json()
    checked = (
        f"{counted(result.receipts, 'receipt')}, {counted(result.files, 'file')}, {size_text(result.bytes)} checked"
    )
    state = f"{s['damage']:,} damaged, {s['stale']:,} stale" if not result.sound else "all as the receipts say"
    print(f"{checked}: {state}{' (after repair)' if repaired else ''}")


def lint_command(paths: Paths, provenance: Provenance = False, json: Json = False, quiet: Quiet = False) -> None:
    """Check any WebDataset against the shard rules; exit code 5 when a rule is broken."""
    _lint(LintRequest(paths=paths, provenance=provenance), OutputOptions(json=json, quiet=quiet))


def _lint(request: LintRequest, output: OutputOptions) -> None:
    from pipeline.app.progress_bar import byte_progress_bar
    from pipeline.checks.lint.linter import Linter, find_shards

    _require_local(request.paths)
    shards = find_shards(request.paths)
    with byte_progress_bar("lint", output.silent) as (begin, progress):
        begin(sum(shard.stat().st_size for shard in shards.tars))
        linter = Linter(progress, provenance=request.provenance)
        findings = []
        for finding in linter.run(shards):
            findings.append(finding)
            if not output.json:
                print(finding.line())
    summary = linter.summary()
    if output.json:
        print_json({**summary, "findings": [finding.as_json() for finding in findings]})
    else:
        counts = f"{counted(summary['errors'], 'error')}, {counted(summary['notes'], 'note')}"
        print(f"{counted(summary['shards'], 'shard')}, {counted(summary['samples'], 'sample')}: {counts}")
    if summary["errors"]:
        raise typer.Exit(DamagedDataError.exit_code)


def _require_local(paths: Sequence[str]) -> None:
    """Raise UsageError for an address of a remote store."""
    from pipeline.storage.fsspec_client import copy_line

    for path in paths:
        if "://" in path:
            raise UsageError(
                f"lint reads files of this machine: copy '{path}' first ({copy_line(path)}), then lint COPY"
            )
