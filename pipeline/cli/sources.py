"""Looking for input files and recording them in ``sources.parquet``, before ingest."""

from dataclasses import asdict, replace
from typing import Any

from pipeline import tables
from pipeline.cli.display import Display
from pipeline.cli.options import Session
from pipeline.plan import record
from pipeline.run import SOURCES, Run
from pipeline.stage import Rows


def refresh_sources(session: Session, display: Display) -> int:
    """List the input anew. New files get rows, and so work; files that are gone lose theirs, and so all that was made of them.

    Gives how many are gone.
    """
    from stages.sources import digest, scan

    settings, run = session.recipe.ingest, session.run
    with display.counting("looking at input files") as tick:
        found = scan(
            settings.source,
            run.plan.work_shards,
            near_bits=settings.near_duplicate_bits,
            limit=settings.limit,
            tick=tick,
        )
    fresh = digest(found)
    if fresh == run.plan.sources_digest and run.store.exists(f"{SOURCES}.parquet"):
        return 0
    before = set(known_files(run))
    rows: Rows = [asdict(source) for source in sorted(found, key=lambda s: s.key)]
    run.store.write(f"{SOURCES}.parquet", _encode(rows))
    run.plan = replace(run.plan, sources=len(found), sources_digest=fresh)
    record(run.store, run.plan)
    _forget(run)
    return len(before - set(known_files(run)))


def known_files(run: Run) -> dict[str, str]:
    """Key -> address of the input files that were listed last; empty before the first time."""
    if not run.store.exists(f"{SOURCES}.parquet"):
        return {}
    return {row["key"]: row["uri"] for row in tables.decode(run.store.read(f"{SOURCES}.parquet"), ["key", "uri"])}


def _encode(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa

    schema = pa.schema(
        [(name, pa.int64() if isinstance(value, int) else pa.string()) for name, value in rows[0].items()]
    )
    return tables.encode(rows, schema)


def _forget(run: Run) -> None:
    run.__dict__.pop("_sources", None)
