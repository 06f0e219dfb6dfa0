"""The loop: for each stage in order, find the shards that are not done, hand them to an executor, close the stage."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from pipeline.core.errors import HeldError, RefusedError
from pipeline.core.stage import Stage, verb_of
from pipeline.engine.completion import Retry, ShardState, no_retry, reopen, reopen_outdated, shard_state
from pipeline.engine.ready_shards import ReadyShards, segments
from pipeline.engine.run_level_steps import run_epilogue, run_prologue
from pipeline.runs.final_shard_diff import Changes, compare, last_manifest, manifest_of, sweep
from pipeline.runs.receipts import Receipt, difference
from pipeline.runs.run_directory import SOURCES, Run, receipt_path, recipe_of
from pipeline.storage.locks import live_locks

MOVES = "lineage.json"  # folders that are being moved aside, [from, to] each; gone when all are


class Executor(Protocol):
    """Runs shards somewhere and gives their receipts in any order."""

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterable[Receipt]:
        """Do the shards of one stage."""
        ...


@runtime_checkable
class PipelinedExecutor(Protocol):
    """Runs shards of several stages at once."""

    def map_ready(self, ready: ReadyShards) -> Iterable[Receipt]:
        """Take shards that are ready, do them and report them done, until none is left."""
        ...


@dataclass(frozen=True)
class StageResult:
    """Shards done now, shards that were done before, and all receipts of a stage.

    changes: of a stage that regroups, against the last time that it was complete.
    """

    stage: str
    done_now: int
    skipped: int
    receipts: list[Receipt]
    changes: Changes = field(default_factory=Changes)


class Watcher(Protocol):
    """Is called as the runner proceeds; the command line draws progress bars with it."""

    def begin(self, stage: str, todo: int, total: int) -> None: ...
    def shard_done(self, receipt: Receipt) -> None: ...
    def end(self, result: StageResult) -> None: ...


@dataclass(frozen=True)
class Options:
    """Args:
    retry: which shards to do again although they are done.
    accept_change: move the shards of another recipe to ``lineage/`` instead of refusing the run.
    """

    retry: Retry = no_retry
    accept_change: bool = False


def run_stages(
    stages: Sequence[Stage],
    run: Run,
    executor: Executor | PipelinedExecutor,
    *,
    watcher: Watcher,
    options: Options,
    chain: Sequence[Stage],
) -> list[StageResult]:
    """Bring every shard of ``stages`` to done. ``chain``: all stages of the recipe, to know who reads whom.

    Raises RefusedError when something was made by another recipe, MissingUpstreamError, and what a shard raises.
    """
    results = []
    for segment in segments(stages) if isinstance(executor, PipelinedExecutor) else [[stage] for stage in stages]:
        before = {stage.name: open_stage(stage, run, options, chain) for stage in segment}
        if isinstance(executor, PipelinedExecutor):
            done_now = _run_segment(segment, run, executor, watcher, options)
        else:
            done_now = Counter({segment[0].name: _one_by_one(segment[0], run, executor, watcher, options)})
        for stage in segment:
            results.append(close_stage(stage, run, before[stage.name], done_now[stage.name]))
            watcher.end(results[-1])
    return results


def open_stage(stage: Stage, run: Run, options: Options, chain: Sequence[Stage]) -> dict[str, str] | None:
    """Prepare a stage: refuse the shards of another recipe or move them aside, and make the prologue.

    Gives the manifest of the last time that the stage was complete, of a stage that regroups.
    """
    _finish_moves(run)
    _refuse_other_runs(stage, run)
    changed = changed_recipe(stage, run)
    if changed and not options.accept_change:
        raise RefusedError(
            f"{stage.name} was made with another recipe ({'; '.join(changed)}): use another --work, go back to that recipe, "
            "or add --accept-change (the old files are kept under lineage/)"
        )
    if changed:
        if stage.prologue_needed:
            next(
                stage.prologue(run.tables(stage)), None
            )  # what cannot be done must fail before the old files are moved
        _move_aside(stage, run, chain)
    if stage.prologue_needed:
        counts = {other.name: other.shards(run.plan.work_shards) for other in chain}
        run_prologue(stage, run, {name: counts[name] for name in stage.upstream if name != SOURCES})
    return last_manifest(stage, run) if stage.regroups else None


def _one_by_one(stage: Stage, run: Run, executor: Executor, watcher: Watcher, options: Options) -> int:
    """Do the shards of one stage that are not done; gives their number."""
    total = stage.shards(run.plan.work_shards)
    todo = reopen_outdated(stage, run, range(total), options.retry)
    watcher.begin(stage.name, len(todo), total)
    for receipt in executor.map(stage, todo):
        watcher.shard_done(receipt)
    return len(todo)


def _run_segment(
    segment: Sequence[Stage], run: Run, executor: PipelinedExecutor, watcher: Watcher, options: Options
) -> Counter[str]:
    """Do the shards of several stages at once that are not done; gives their number by stage."""
    shards = {stage.name: range(stage.shards(run.plan.work_shards)) for stage in segment}

    def is_done(stage: Stage, shard: int) -> bool:
        state = shard_state(stage, run, shard, options.retry)
        if state is ShardState.OUTDATED:
            reopen(stage, run, shard)
        return state is ShardState.DONE

    ready = ReadyShards(segment, lambda stage: shards[stage.name], is_done)
    for stage in segment:
        if ready.waiting(stage.name):
            run.inputs_of(stage, ready.first(stage.name))  # a missing upstream is reported before any work begins
    for stage in segment:
        watcher.begin(stage.name, ready.left(stage.name), len(shards[stage.name]))
    done_now: Counter[str] = Counter()
    for receipt in executor.map_ready(ready) if ready.unfinished else ():
        done_now[receipt.stage] += 1
        watcher.shard_done(receipt)
    return done_now


def close_stage(stage: Stage, run: Run, before: dict[str, str] | None, done_now: int) -> StageResult:
    """Finish a stage: remove files of shards that no longer exist, and make the epilogue."""
    total = stage.shards(run.plan.work_shards)
    receipts = run.receipts(stage.name)
    changes = Changes()
    if stage.regroups and len(receipts) == total:
        after = manifest_of(stage, run)
        sweep(stage, run, after)
        changes = compare(before, after)
    if stage.epilogue_needed:
        run_epilogue(stage, run, total)
    run.forget_sources()
    return StageResult(stage.name, done_now, total - done_now, receipts, changes)


def _refuse_other_runs(stage: Stage, run: Run) -> None:
    """Raise RefusedError for shards that were copied here from another run: their rows are of other photographs or seeds."""
    for receipt in run.receipts(stage.name):
        if receipt.run not in ("", run.plan.identity):
            path = receipt_path(stage.name, receipt.shard)
            raise RefusedError(
                f"'{run.store.url}/{path}' is of another run (another name, seed or number of work shards): shards were mixed; "
                "put back this run's own files, or make them anew with 'procrop-data verify --repair'"
            )


def changed_recipe(stage: Stage, run: Run) -> list[str]:
    """How the recipe of a stage differs from the one that its first receipt names; empty when it does not."""
    recipe = recipe_of(stage)
    for receipt in run.receipts(stage.name):
        if receipt.recipe != recipe or receipt.shards != stage.shards(run.plan.work_shards):
            return difference(receipt.recipe, recipe) or [
                f"shards: {receipt.shards} -> {stage.shards(run.plan.work_shards)}"
            ]
    return []


def _move_aside(stage: Stage, run: Run, chain: Sequence[Stage]) -> None:
    """Keep what the old recipe made, of this stage and of all that were made from it, under ``lineage/``."""
    stale = {stage.name}
    for other in chain:
        if stale & set(other.upstream):
            stale.add(other.name)
    _require_idle(run, stale)
    number = len(run.store.names("lineage")) + 1
    folders = set(stale)
    for name in stale:
        outputs = {PurePosixPath(path).parts[0] for receipt in run.receipts(name) for path in receipt.outputs}
        folders |= outputs - {verb_of(name)}
    moves = [[folder, f"lineage/{number:03d}/{folder}"] for folder in sorted(folders) if run.store.exists(folder)]
    run.store.write(MOVES, json.dumps(moves).encode())
    _finish_moves(run)


def _require_idle(run: Run, stages: Iterable[str]) -> None:
    """Raise HeldError when another process works on one of the stages: its files would be moved from under it."""
    for name in sorted(stages):
        for lock, owner in live_locks(run.store, f"{name.replace('/', '-')}-"):
            raise HeldError(
                f"'{run.store.url}/locks/{lock}.json' is held by {owner}: wait for it, or stop it, before the files of {name} "
                "are moved aside"
            )


def _finish_moves(run: Run) -> None:
    """Move aside what ``_move_aside`` noted: the rest of it, when that was interrupted."""
    try:
        moves = json.loads(run.store.read(MOVES))
    except FileNotFoundError:
        return
    for folder, to in moves:
        if run.store.exists(folder):
            run.store.move(folder, to)
    run.store.remove(MOVES)
