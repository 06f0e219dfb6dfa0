"""``verify``: check a run directory against its receipts, and repair what its stages can make again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.app.progress_bar import byte_progress_bar
from pipeline.app.session import Session
from pipeline.app.worker_count import worker_count
from pipeline.core.errors import RefusedError

if TYPE_CHECKING:
    from pipeline.app.progress import Display
    from pipeline.checks.receipt_audit import Finding
    from pipeline.checks.verify import Verification
    from pipeline.core.stage import Stage
    from pipeline.engine.executors.local import LocalExecutor


@dataclass(frozen=True)
class VerifyRequest:
    """A run directory, whether to repair it, and the number of threads and worker processes (0: one per processor core)."""

    work: str = "work"
    repair: bool = False
    workers: int = 0


def check_session(session: Session, workers: int, *, quiet: bool = False) -> "Verification":
    """Check every byte of a run directory; writes nothing. workers: threads, 0 for one per processor core."""
    from pipeline.checks.receipt_audit import DAMAGE, REPAIR, Finding
    from pipeline.checks.verify import verify_run
    from pipeline.runs.run_directory import SOURCES

    with byte_progress_bar("verify", quiet) as (begin, progress):
        result = verify_run(session.run, session.stages, threads=worker_count(workers), begin=begin, progress=progress)
    if not any(finding.stage == SOURCES for finding in result.findings) and _sources_were_edited(session):
        what = "does not list what plan.json says: it was edited"
        result.findings.insert(0, Finding(DAMAGE, f"{SOURCES}.parquet", what, REPAIR, SOURCES))
    return result


def _sources_were_edited(session: Session) -> bool:
    """Whether the list of input files differs from the digest in ``plan.json``."""
    from pipeline.core.records import PLACE_OF_SOURCE
    from pipeline.runs.run_directory import SOURCES
    from pipeline.shards import parquet
    from stages.photos.source_scan import SOURCES as SCHEMA
    from stages.photos.source_scan import digest_of_rows

    run = session.run
    if not run.plan.sources_digest:
        return False
    table = parquet.decode_table(run.store.read(f"{SOURCES}.parquet"))
    older = [name for name in SCHEMA.names if name not in PLACE_OF_SOURCE]
    return bool(table.schema.names not in (SCHEMA.names, older) or digest_of_rows(table) != run.plan.sources_digest)


def repair_session(
    session: Session, verification: "Verification", workers: int, *, quiet: bool = False
) -> "list[Finding]":
    """Make damaged and stale shards again; gives notes on bytes that changed.

    Raises RefusedError, with nothing changed, if the recipe or the photographs are not those of the run.
    """
    from pipeline.app.progress import Display
    from pipeline.app.refresh_sources import refresh_sources
    from pipeline.checks.repair import RepairTools, repair
    from pipeline.engine.executors.local import LocalExecutor
    from pipeline.runs.run_directory import SOURCES

    run, display = session.run, Display(quiet=quiet)
    if any(finding.stage in (SOURCES, "ingest") for finding in verification.findings):
        _require_same_photos(session, display)
    if any(finding.stage == SOURCES for finding in verification.findings):
        run.store.remove(f"{SOURCES}.parquet")
        refresh_sources(session, display)

    def executor(stages: "Sequence[Stage]") -> "LocalExecutor":
        return LocalExecutor(run, stages, workers=worker_count(workers), on_event=display.on_event)

    return repair(run, session.stages, verification, RepairTools(executor, display))


def sweep_session(session: Session) -> "list[Finding]":
    """Remove files that writers of this program left and no receipt names; gives a note on each. None while a run is active."""
    from pipeline.checks.orphans import sweep_orphans
    from pipeline.checks.receipt_audit import NOTE, Finding

    paths = sweep_orphans(session.run, session.stages)
    return [
        Finding(NOTE, path, "no receipt named it: left by a writer that died or lost its shard", "removed")
        for path in paths
    ]


def _require_same_photos(session: Session, display: "Display") -> None:
    """Raise RefusedError if the photographs changed: ingest can only be repaired from those that it was made from."""
    from stages.photos.source_scan import scan_sources

    settings, plan = session.recipe.ingest, session.run.plan
    with display.counting("looking at input files") as tick:
        sources = scan_sources(
            settings.source, plan.work_shards, near_bits=settings.near_duplicate_bits, limit=settings.limit, tick=tick,
            access=settings.lists,
        ).with_splits(plan.splits)  # fmt: skip
    if sources.digest != plan.sources_digest:
        raise RefusedError(
            f"'{settings.source}' no longer holds the photographs that this run was made from, so ingest cannot be repaired: "
            "put them back, or take the new ones with 'procrop-data run'"
        )
