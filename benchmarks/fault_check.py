"""After a disturbance: the run is brought to its end, and every byte and row of it is looked at."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fault_actors import Actor, Executor, Quiet, give_locks_up
from benchmarks.fault_kinds import all_files
from benchmarks.fault_stages import MACHINES, PHOTOS, image_of, stages_of
from benchmarks.fault_stores import Place
from pipeline.checks.orphans import sweep_orphans
from pipeline.checks.repair import RepairTools, repair
from pipeline.checks.verify import verify_run
from pipeline.core.errors import ProcropError
from pipeline.core.stage import Stage
from pipeline.runs.run_directory import Run
from pipeline.storage.base import Store

TRIES = 8
KEYS = [f"k{number}" for number in range(PHOTOS)]


@dataclass
class Verdict:
    """Rows lost and doubled, files or images certified though wrong, and ends without a word or without an end."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    repaired: bool = False
    broken: list[str] = field(default_factory=list)


def bring_to_the_end(place: Place, name: str, actors: Sequence[Actor]) -> Verdict:
    """Run the same command again until it is done, repair what is damaged, and look at the result."""
    verdict = Verdict(broken=[f"{actor.word}: {actor.trace}" for actor in actors if actor.word == "broken"])
    store = place.store(name)
    give_locks_up(store)
    for _ in range(TRIES):
        last = Actor(place.store(name), "c").start()
        if last.word == "done":
            break
        give_locks_up(store)
        if last.word == "DamagedDataError":
            _mend(last, verdict)
    stages = stages_of("c", lambda: None)
    run = Run(store, last.run().plan) if last.word == "done" else None
    if run is None:
        verdict.broken.append(f"it does not end: {last.word} {last.trace}")
        return verdict
    found = verify_run(run, stages)
    if not found.sound:
        _mend(last, verdict)
        found = verify_run(run, stages)
    verdict.wrong += sum(finding.severity != "note" for finding in found.findings)
    _look(run, stages, verdict)
    return verdict


def _mend(actor: Actor, verdict: Verdict) -> None:
    """What ``verify --repair`` does."""
    verdict.repaired = True
    run, stages = Run(actor.raw, actor.run().plan), stages_of("c", lambda: None)
    try:
        repair(run, stages, verify_run(run, stages), RepairTools(lambda some: _executor(run), Quiet()))
    except ProcropError as error:
        verdict.broken.append(f"repair: {error}")


@contextmanager
def _executor(run: Run) -> Iterator[Any]:
    yield Executor(run)


def _look(run: Run, stages: Sequence[Stage], verdict: Verdict) -> None:
    for stage in stages:
        rows = [
            row["key"] for receipt in run.receipts(stage.name) for row in run.rows(stage.name, receipt.shard, ["key"])
        ]
        _count(rows, verdict)
    verdict.wrong += _wrong_images(run)
    sweep_orphans(run, stages, settle_s=0)
    named = {path for stage in stages for receipt in run.receipts(stage.name) for path in receipt.outputs}
    tars = [path for path in all_files(run.store) if path.startswith("dataset/shards/")]
    verdict.doubled += len(set(tars) - named)
    verdict.broken += [f"left: {path}" for path in _left(run.store)]


def _count(rows: list[str], verdict: Verdict) -> None:
    found = Counter(rows)
    verdict.lost += sum(found[key] < 1 for key in KEYS)
    verdict.doubled += sum(count > 1 for count in found.values())


def _wrong_images(run: Run) -> int:
    """Images of the final shards that no machine made."""
    wrong = 0
    for receipt in run.receipts("pack"):
        path = run.output_of(receipt, ".tar")
        for row in run.rows("pack", receipt.shard):
            data = run.store.read_range(path, row["image_offset"], row["image_size"])
            wrong += data not in [image_of(row["key"], machine) for machine in MACHINES]
    return wrong


def _left(store: Store) -> list[str]:
    """Temporary files that stayed after a sweep."""
    return [path for path in all_files(store) if ".partial." in path]
