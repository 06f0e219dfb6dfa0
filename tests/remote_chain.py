"""A small chain on a remote store, in one process, and what is compared afterwards."""

import hashlib
from collections.abc import Iterator

from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.engine.runner import Options, run_stages
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.receipts import Receipt
from pipeline.storage.stale_uploads import abort_stale_uploads
from tests.chain import recipe_for, session_for


class Inline:
    """Does shards in this process."""

    def __init__(self, session) -> None:
        self._run = session.run

    def map(self, stage, shards) -> Iterator[Receipt]:
        for shard in shards:
            yield run_shard(stage, self._run, shard, Control())


def small_session(photos, work):
    """Two work shards, one round, two final shards."""
    data = {"work_shards": 2, "outpaint": {"variants": 1}, "refine": {"rounds": 1}, "build": {"shards": 2}}
    return session_for(recipe_for(photos, ingest={"source": str(photos), "splits": {"train": 1.0}}, **data), work)


def run_inline(session, display=None, until=""):
    """All stages, or those up to ``until``."""
    display = display or Display(quiet=True)
    abort_stale_uploads(session.run.store)
    refresh_sources(session, display)
    names = [stage.name for stage in session.stages]
    stages = session.stages[: names.index(until) + 1] if until else session.stages
    return run_stages(
        stages, session.run, Inline(session), watcher=display, chain=session.stages, options=Options()
    )  # fmt: skip


def digests(store) -> dict[str, str]:
    """sha256 of every file but receipts, locks and plan.json, which alone says where the photographs lie."""
    return {
        path: hashlib.sha256(store.read(path)).hexdigest()
        for path in _walk(store, "")
        if not path.startswith((".cache", "locks", "plan.json")) and not path.endswith(".receipt.json")
    }


def _walk(store, folder) -> Iterator[str]:
    for name in store.names(folder):
        path = f"{folder}/{name}" if folder else name
        if "." in name.lstrip("."):
            yield path
        else:
            yield from _walk(store, path)
