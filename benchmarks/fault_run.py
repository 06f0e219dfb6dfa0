"""A small whole run with stand-in models, for ``bench faults`` to kill: ``python -m benchmarks.fault_run SOURCE WORK``.

It has two worker processes, a stage with a journal, one with rounds, prologues and an epilogue: every way to commit there is.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.stand_ins import stand_ins
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.core.errors import ProcropError
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.runner import Options, run_stages
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store
from stages.recipe import Recipe, stages_with

WORKERS = 2


def session_for(source: Path, work: Path) -> Session:
    """The recipe bound to a run directory."""
    recipe = Recipe.model_validate(
        {
            "name": "faults",
            "work_shards": 2,
            "ingest": {"source": str(source), "splits": {"train": 0.6, "val": 0.2, "test": 0.2}},
            "outpaint": {"variants": 3, "held_out_variants": 2, "long_side": 96, "micro_batch": 2},
            "refine": {"rounds": 1, "beam": 4, "moves": 2},
            "filter": {"max_crops": 4},
            "build": {"shards": 3},
            "retrieve": {"k": 3},
        }
    )
    store = open_store(str(work))
    plan = freeze_plan(store, Plan(recipe.name, recipe.seed, recipe.work_shards, recipe.model_dump(mode="json")))
    return Session(recipe, Run(store, plan), stages_with(recipe, stand_ins()))


def run_all(source: Path, work: Path) -> None:
    """Bring the whole run to its end, as ``procrop-data run`` does."""
    session, display = session_for(source, work), Display(quiet=True)
    refresh_sources(session, display)
    stages = session.stages
    with LocalExecutor(session.run, stages, workers=WORKERS, on_event=display.on_event) as executor:
        run_stages(stages, session.run, executor, watcher=display, chain=stages, options=Options())


def digests(work: Path) -> dict[str, str]:
    """sha256 of every file of a run directory but locks, journals, caches and receipts (these hold times)."""
    return {
        str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(work.rglob("*"))
        if path.is_file() and not _passing(path.relative_to(work))
    }


def _passing(path: Path) -> bool:
    aside = {"locks", "journal", ".cache"} & set(path.parts)
    return path.name.endswith(".receipt.json") or ".partial." in path.name or bool(aside)


def promised(source: Path, work: Path) -> dict[str, str]:
    """What the receipts say of every output; raises DamagedDataError for a receipt that is not whole."""
    return {path: about["sha256"] for receipt in _receipts(source, work) for path, about in receipt.outputs.items()}


def _receipts(source: Path, work: Path) -> Iterator[Any]:
    session = session_for(source, work)
    for stage in session.stages:
        yield from session.run.receipts(stage.name)


def keys_of(source: Path, work: Path) -> Counter[tuple[str, str]]:
    """How often each (stage, key) has a row."""
    session = session_for(source, work)
    found: Counter[tuple[str, str]] = Counter()
    for stage in session.stages:
        for receipt in session.run.receipts(stage.name):
            found.update((stage.name, row["key"]) for row in session.run.rows(stage.name, receipt.shard, ["key"]))
    return found


if __name__ == "__main__":
    try:
        run_all(Path(sys.argv[1]), Path(sys.argv[2]))
    except ProcropError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
