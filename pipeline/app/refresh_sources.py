"""Looking for input files and recording them in ``sources.parquet``, before ingest."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.app.progress import Display
from pipeline.app.session import Session
from pipeline.core.errors import RefusedError
from pipeline.core.release_memory import give_back
from pipeline.runs.plan import store_plan
from pipeline.runs.run_directory import SOURCES, Run
from pipeline.shards import parquet

if TYPE_CHECKING:
    from stages.photos.source_scan import SourceList

SEEN = ".cache/seen.parquet"  # a memory of the scan, not data: without it all files are read again
MANY_GONE, SHARE_GONE = 10, 0.05  # files that are gone beyond which a takedown must be confirmed: more than both
ROWS_A_GROUP = 1024  # a worker reads the groups that hold its shard


def refresh_sources(session: Session, display: Display, *, accept_takedown: bool = False) -> int:
    """List the input anew. New files get rows, and so work; files that are gone lose theirs, and so all that was made of them.

    Gives how many are gone. Raises RefusedError, with nothing changed, when so many are gone that a disk may be missing.

    Args:
        session: whose input is listed.
        display: shows the progress.
        accept_takedown: let go of any number of files.
    """
    from stages.photos.source_scan import SCANNED_FILES, scan_sources
    from stages.photos.split_assignment import splits_for_empty

    settings, run = session.recipe.ingest, session.run
    known = _known(run, SCANNED_FILES)
    with display.counting("looking at input files") as tick:
        scan = scan_sources(
            settings.source, run.plan.work_shards, near_bits=settings.near_duplicate_bits, limit=settings.limit, tick=tick,
            known=known, access=settings.lists,
        )  # fmt: skip
    if known is None or not scan.files.equals(known):
        run.store.write(SEEN, parquet.encode_table(scan.files))
    shares = {str(name): share for name, share in settings.splits.items()}
    splits = splits_for_empty(scan.photographs(), shares, run.plan.run_seed, run.plan.splits)
    scan = scan.with_splits(splits)
    if splits and splits != run.plan.splits:
        display.message(_moved(scan, splits))
    fresh, gone = scan.digest, 0
    if fresh != run.plan.sources_digest or not run.store.exists(f"{SOURCES}.parquet"):
        gone = _gone(run, scan.sources)
        if not accept_takedown:
            _refuse_many(gone, run.plan.sources, settings.source)
        run.store.write(f"{SOURCES}.parquet", parquet.encode_table(scan.sources, ROWS_A_GROUP))
        run.plan = replace(run.plan, sources=len(scan), sources_digest=fresh, splits=splits)
        store_plan(run.store, run.plan)
        run.forget_sources()
    del known, scan
    give_back()
    return gone


def _moved(scan: "SourceList", splits: Mapping[str, str]) -> str:
    """Which photographs were moved into a split that had none."""
    moved = ", ".join(f"'{source.uri}' is {splits[source.key]}" for source in scan if source.key in splits)
    return f"{moved}, so that each split has a photograph; a column 'split' in credits.csv chooses others"


def _refuse_many(gone: int, before: int, source: str) -> None:
    """A part of a source that is not mounted looks like a takedown: all that was made of it would be removed."""
    if gone > MANY_GONE and gone > SHARE_GONE * before:
        raise RefusedError(
            f"{gone} of {before} input files of '{source}' are gone: is a disk or bucket missing? Bring it back, or add "
            "--accept-takedown to remove all that was made of them"
        )


def _gone(run: Run, sources: Any) -> int:
    """How many input files of the last list are not in the new one."""
    import pyarrow.compute as pc

    if not run.store.exists(f"{SOURCES}.parquet"):
        return 0
    before = parquet.decode_table(run.store.read(f"{SOURCES}.parquet"), ["key"])["key"]
    return len(before) - int(pc.sum(pc.is_in(before, value_set=sources["key"])).as_py() or 0)


def known_files(run: Run) -> Any:
    """Arrow table of the keys and addresses (``key``, ``uri``) of the input files that were listed last."""
    import pyarrow as pa

    if not run.store.exists(f"{SOURCES}.parquet"):
        return pa.table({"key": pa.array([], pa.string()), "uri": pa.array([], pa.string())})
    return parquet.decode_table(run.store.read(f"{SOURCES}.parquet"), ["key", "uri"])


def _known(run: Run, schema: Any) -> Any:
    """What the last scan saw; None when there was none, or when its file is of no use: then all is read again."""
    try:
        table = parquet.decode_table(run.store.read(SEEN))
    except (OSError, ValueError):
        return None
    return table if table.schema.equals(schema) else None
