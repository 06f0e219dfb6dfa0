"""Files of writers that died, or that lost their shard while they slept: no receipt names them. ``verify --repair`` removes them.

Only names that this program gives are removed: temporary files, a shard's own files, its journals, shared files of a prologue, and
final shards that a receipt announced. Nothing is removed while another process works on the run.
"""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core.errors import DamagedDataError, HeldError
from pipeline.core.stage import Stage
from pipeline.runs.final_shard_diff import RETIRED, manifest_of, sweep
from pipeline.runs.run_directory import Run
from pipeline.storage.base import Store
from pipeline.storage.locks import has_live_lock, shard_lock

TEMPORARY = re.compile(r".+\.partial\.[0-9a-f]{32}")
_SHARD_FILE = re.compile(r"(\d{6})\.(tar|parquet|idx)")
_JOURNAL = re.compile(r"(\d{6})(-[0-9a-z]+)?\.(tar|jsonl)")
SETTLE_S = (
    5.0  # a temporary file of a live writer without a lock (a lock itself, the plan) is renamed within milliseconds
)


def sweep_orphans(run: Run, stages: Sequence[Stage], settle_s: float = SETTLE_S) -> list[str]:
    """Remove what writers that are gone left; gives the paths. Nothing while a live lock is held.

    Args:
        run: the run directory.
        stages: whose files are looked at.
        settle_s: seconds after which a temporary file that is still there is taken for dead.
    """
    if has_live_lock(run.store):
        return []
    removed = _remove_temporary(run.store, stages, settle_s)
    for stage in stages:
        removed += _unnamed_of_shards(run, stage)
        removed += _unnamed_of_prologue(run, stage)
        _remove_journals(run, stage)
        if stage.regroups and run.store.names(f"{stage.name}/{RETIRED}") and _is_complete(run, stage):
            removed += sweep(stage, run, manifest_of(stage, run))
    return sorted(removed)


def _remove_temporary(store: Store, stages: Sequence[Stage], settle_s: float) -> list[str]:
    candidates = set(_temporary(store, stages))
    if candidates and settle_s:
        time.sleep(settle_s)
        candidates &= set(_temporary(store, stages))
    for path in candidates:
        store.remove(path)
    return list(candidates)


def _temporary(store: Store, stages: Sequence[Stage]) -> Iterator[str]:
    """Temporary files at the root, beside locks, in the folders of stages, and where they publish."""
    for folder in ("", "locks", *(stage.name for stage in stages), *(f"{stage.name}/shared" for stage in stages)):
        yield from _matching(store, folder)
    for stage in stages:
        if stage.regroups:
            yield from _matching(store, f"{stage.name}/{RETIRED}")
    for folder in store.names("dataset"):
        yield from _matching(store, f"dataset/{folder}")


def _matching(store: Store, folder: str) -> Iterator[str]:
    for name in store.names(folder):
        if TEMPORARY.fullmatch(name):
            yield f"{folder}/{name}" if folder else name


def _unnamed_of_shards(run: Run, stage: Stage) -> list[str]:
    """Files of shards in the stage's own folder that the shard's receipt does not name; removed under the shard's lock."""
    removed = []
    for name in run.store.names(stage.name):
        match = _SHARD_FILE.fullmatch(name)
        path = f"{stage.name}/{name}"
        if (
            match
            and not _is_named(run, stage, int(match[1]), path)
            and _remove_under_lock(run, stage, int(match[1]), path)
        ):
            removed.append(path)
    return removed


def _is_named(run: Run, stage: Stage, shard: int, path: str) -> bool:
    """Whether the receipt of a shard names a file; a receipt that cannot be read may."""
    try:
        receipt = run.receipt(stage.name, shard)
    except DamagedDataError:
        return True
    return receipt is not None and path in receipt.outputs


def _remove_under_lock(run: Run, stage: Stage, shard: int, path: str) -> bool:
    try:
        with shard_lock(run.store, stage.name, shard):
            if _is_named(run, stage, shard, path):  # committed meanwhile
                return False
            run.store.remove(path)
    except HeldError:
        return False
    return True


def _unnamed_of_prologue(run: Run, stage: Stage) -> list[str]:
    """Shared files that the prologue's receipt does not name."""
    if not stage.prologue_needed:
        return []
    path = f"{stage.name}/prologue.receipt.json"
    removed = []
    try:
        with shard_lock(run.store, stage.name, "prologue"):
            receipt = run.receipt_at(path)
            for name in run.store.names(f"{stage.name}/shared") if receipt is not None else ():
                shared = f"{stage.name}/shared/{name}"
                if receipt is not None and shared not in receipt.outputs:
                    run.store.remove(shared)
                    removed.append(shared)
    except (HeldError, DamagedDataError):
        return removed
    return removed


def _remove_journals(run: Run, stage: Stage) -> None:
    """Journals of shards that are done, on this machine's disk."""
    folder = run.store.scratch_folder() / stage.name / "journal"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _JOURNAL.fullmatch(path.name)
        if match and _is_done(run, stage, int(match[1])):
            _unlink_under_lock(run, stage, int(match[1]), path)


def _unlink_under_lock(run: Run, stage: Stage, shard: int, path: Path) -> None:
    try:
        with shard_lock(run.store, stage.name, shard):
            path.unlink(missing_ok=True)
    except HeldError:
        return


def _is_done(run: Run, stage: Stage, shard: int) -> bool:
    try:
        return run.receipt(stage.name, shard) is not None
    except DamagedDataError:
        return False


def _is_complete(run: Run, stage: Stage) -> bool:
    return len(run.receipts(stage.name)) == stage.shards(run.plan.work_shards)
