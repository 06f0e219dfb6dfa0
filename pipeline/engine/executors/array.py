"""One task of a Slurm array or of a Kubernetes Indexed Job: its share of the shards, stage by stage, with local workers.

Work over all shards is done once, by the first task that can: a stage's prologue by a task that finds all upstream shards done,
its epilogue by a task that finds all shards of the stage done. Other tasks wait for that lock meanwhile. A task whose next stage
needs unfinished shards of other tasks waits for them as long as ``wait`` says, then ends: the same array, submitted again,
continues from there.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from pipeline.core.errors import HeldError, InterruptedRunError, MissingUpstreamError, RefusedError
from pipeline.core.stage import Stage
from pipeline.engine.array_share import ArrayShare
from pipeline.engine.completion import reopen_outdated
from pipeline.engine.environment_digest import environment_difference
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.runner import Options, StageResult, Watcher, close_stage, open_stage
from pipeline.runs.run_directory import Run
from pipeline.storage.base import Store
from pipeline.storage.locks import live_locks, shard_lock

AGAIN_S = 1.0
HELD_LONGEST_S = 300.0  # longer than it takes to detect that the owner of a lock on another machine is dead
LOCKS = "array"
CENSUS = ".cache/array-{}.json"  # what a task computes with, for the others to compare
NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})
T = TypeVar("T")


@dataclass(frozen=True)
class ShareResult:
    """stages: results of the stages that the task worked on. waits_for: what the next stage lacks; empty when nothing."""

    stages: list[StageResult] = field(default_factory=list)
    waits_for: str = ""


@contextmanager
def at_work(store: Store, share: ArrayShare, environment: Mapping[str, str] = NO_ENVIRONMENT) -> Iterator[None]:
    """Hold the lock of this task while the block runs. environment: what it computes with (``environment_digest``).

    Raises HeldError when a live process is the same task, RefusedError when an array that divides the shards in another way is
    running in this run directory, or a task that would compute something else.
    """
    me = f"{share.kind}-{share.index:06d}"
    with lock_when_free(lambda: shard_lock(store, LOCKS, me), HELD_LONGEST_S):
        store.write(CENSUS.format(me), json.dumps(dict(environment), sort_keys=True).encode())
        try:
            _refuse_other_arrays(store, share, environment)
            yield
        finally:
            store.remove(CENSUS.format(me))


def _refuse_other_arrays(store: Store, share: ArrayShare, environment: Mapping[str, str]) -> None:
    """Raise RefusedError when a live task divides the shards in another way, or would compute something else."""
    for name, holder in live_locks(store, f"{LOCKS}-"):
        task = name.removeprefix(f"{LOCKS}-")
        kind = task.rpartition("-")[0]
        if kind not in (share.kind, "once"):
            raise RefusedError(
                f"another array job ({kind}) is at work in '{store.url}': its {holder}; wait for it, or submit this one with "
                f"as many tasks (this is {share})"
            )
        _refuse_other_environment(store, task, holder, environment)


def _refuse_other_environment(store: Store, task: str, holder: str, ours: Mapping[str, str]) -> None:
    """Raise RefusedError when a live task would compute something else than this one."""
    try:
        theirs: dict[str, str] = json.loads(store.read(CENSUS.format(task)))
    except (FileNotFoundError, ValueError):
        return  # it has only begun, and will see ours
    both = ours.keys() & theirs.keys()  # another command may do other stages, with other models
    if different := environment_difference({name: ours[name] for name in both}, {name: theirs[name] for name in both}):
        raise RefusedError(
            f"another task of this array would compute something else than this one ({different}; it is {holder}): install the "
            "same versions and models on every machine"
        )


@contextmanager
def once(store: Store, what: str) -> Iterator[None]:
    """A block that one task at a time runs."""
    with lock_when_free(lambda: shard_lock(store, LOCKS, f"once-{what}")):
        yield


@contextmanager
def lock_when_free(lock: Callable[[], AbstractContextManager[object]], longest: float = float("inf")) -> Iterator[None]:
    """Hold a lock as soon as its owner has released it. Raises HeldError after ``longest`` seconds."""
    started = time.monotonic()
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock())
                break
            except HeldError:
                if time.monotonic() - started > longest:
                    raise
        yield


class ArrayTask:
    """Does a share of a run. wait: seconds to wait for other tasks' shards where a stage needs all."""

    def __init__(self, run: Run, executor: LocalExecutor, share: ArrayShare, *, watcher: Watcher, wait: float) -> None:
        self._run, self._executor, self._share = run, executor, share
        self._watcher, self._wait = watcher, wait

    def do(self, stages: Sequence[Stage], options: Options, chain: Sequence[Stage]) -> ShareResult:
        """The share of each stage in order. Raises MissingUpstreamError when not even the first can begin."""
        results: list[StageResult] = []
        for stage in stages:
            try:
                before = self._when_possible(partial(open_stage, stage, self._run, options, chain))
                done_now = self._when_possible(partial(self._shards, stage, options))
            except MissingUpstreamError as error:
                if not results:
                    raise
                return ShareResult(results, str(error))
            results.append(self._close(stage, before, done_now))
            self._watcher.end(results[-1])
        return ShareResult(results)

    def _shards(self, stage: Stage, options: Options) -> int:
        """Do the shards of the share that are not done; gives their number."""
        mine = self._share.of(stage.shards(self._run.plan.work_shards))
        todo = reopen_outdated(stage, self._run, mine, options.retry)
        self._watcher.begin(stage.name, len(todo), len(mine))
        started, left = time.monotonic(), todo
        while left:
            try:
                for receipt in self._executor.map(stage, left):
                    self._watcher.shard_done(receipt)
            except HeldError as error:
                if time.monotonic() - started > HELD_LONGEST_S:
                    raise RefusedError(str(error)) from error
                self._pause()
            left = reopen_outdated(stage, self._run, left)
        return len(todo)

    def _close(self, stage: Stage, before: dict[str, str] | None, done_now: int) -> StageResult:
        total = stage.shards(self._run.plan.work_shards)
        receipts = self._run.receipts(stage.name)
        if len(receipts) == total:
            return self._in_turn(lambda: close_stage(stage, self._run, before, done_now))
        return StageResult(stage.name, done_now, len(receipts) - done_now, receipts)

    def _when_possible(self, step: Callable[[], T]) -> T:
        """The result of a step, tried again while shards of other tasks are missing and the waiting time is not over."""
        started = time.monotonic()
        while True:
            try:
                return self._in_turn(step)
            except MissingUpstreamError:
                if time.monotonic() - started >= self._wait:
                    raise
                self._pause()

    def _in_turn(self, step: Callable[[], T]) -> T:
        """The result of a step, once no other task runs it; the lock of a dead task is free after some time without heartbeats."""
        while True:
            try:
                return step()
            except HeldError:
                self._pause()

    def _pause(self) -> None:
        if self._executor.stopping:
            raise InterruptedRunError(f"stopped while {self._share} waited; run the same command to go on")
        time.sleep(AGAIN_S)
