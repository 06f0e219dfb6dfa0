"""The one contract of every executor: ``run_shard(stage, shard) -> receipt``."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.core.errors import (
    InterruptedRunError,
    ProcropError,
    SampleError,
    TooManyFailuresError,
    UsageError,
)
from pipeline.core.seeds import digest_of
from pipeline.core.stage import FAILED, Outcome, Rows, Shard, SplitStage, Stage, Task
from pipeline.engine.completion import receipt_holds
from pipeline.engine.environment_digest import census
from pipeline.engine.prefetch import BatchHooks, prefetched
from pipeline.engine.shard_commit import ShardAttempt
from pipeline.runs.crash_list import crashed_path, outcome_of, read_crashed
from pipeline.runs.journal import Journal, Ownership
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run, recipe_of
from pipeline.shards import parquet
from pipeline.storage.locks import LOCK_TIMING, Lock, LockTiming, shard_lock

# What a sample may fail with. The rest (ImportError, TypeError, KeyError ...) is a bug or a broken machine and stops the run.
SAMPLE_ERRORS = (SampleError, OSError, ValueError, ArithmeticError, RuntimeError)

_KEY = re.compile(r"[a-z0-9_-]+")


@dataclass(frozen=True)
class Event:
    """Progress of one shard: tasks by status since the last event."""

    stage: str
    shard: int
    kept: int
    rejected: int
    failed: int


@dataclass(frozen=True)
class Control:
    """How an executor watches and stops a shard.

    Args:
        report: called after each micro-batch.
        stopping: whether to end after the current micro-batch.
        beginning: called with the index of a micro-batch's first task before it is computed, with -1 after it.
        max_consecutive_failures: failed samples in a row that stop the run.
        overlap: prepare the next micro-batch meanwhile; a crash may then belong to that one.
        device: recorded in the receipt.
        lock_timing: of the shard's lock.
    """

    report: Callable[[Event], None] = lambda event: None
    stopping: Callable[[], bool] = lambda: False
    beginning: Callable[[int], None] = lambda start: None
    max_consecutive_failures: int = 100
    overlap: bool = True
    device: str = "cpu"
    lock_timing: LockTiming = LOCK_TIMING


class OutcomeSink(Protocol):
    """Where the outcomes of a shard are collected until it is committed. batches: micro-batches of a resumed journal."""

    rows: Rows
    batches: int

    def append(self, outcomes: list[Outcome]) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None: ...


class RowSink:
    """Collects the rows of a stage that writes no files, in memory."""

    def __init__(self) -> None:
        self.rows: Rows = []
        self.batches = 0

    def append(self, outcomes: list[Outcome]) -> None:
        self.rows += [parquet.row_of(outcome) for outcome in outcomes]

    def close(self) -> None:
        """Nothing to close."""

    def discard(self) -> None:
        """Nothing to remove."""


def shard_identity(stage: Stage, inputs: Mapping[str, str], run: Run) -> str:
    """Digest of what a shard is made from, by which recipe and in which run (its seed is in it); the journal of a shard and its
    list of crashing samples hold for it alone.
    """
    return digest_of([recipe_of(stage), inputs, run.plan.identity])


def run_shard(stage: Stage, run: Run, number: int, control: Control) -> Receipt:
    """Do one shard of a stage and commit it: files first, then the receipt.

    Raises InterruptedRunError after the current micro-batch when it should stop, TooManyFailuresError, MissingUpstreamError,
    StorageError, HeldError when another process holds the shard.
    """
    with shard_lock(run.store, stage.name, number, control.lock_timing) as lock:
        clock, processor = [time.perf_counter()], time.process_time()
        inputs = run.inputs_of(stage, number)
        done = run.receipt(stage.name, number)
        if done is not None and receipt_holds(done, stage, run, inputs):
            return done  # another process has done it meanwhile
        identity = shard_identity(stage, inputs, run)
        shard = run.shard(stage, number)
        tasks = stage.tasks(shard)
        _check_keys(tasks, stage.name)
        crashing = read_crashed(run.store, stage.name, number, identity)
        clock.append(time.perf_counter())
        sink = _open_sink(stage, run, number, identity, lock)
        with contextlib.closing(sink):
            _work(stage, shard, tasks, sink, control, crashing)
            clock.append(time.perf_counter())
            lock.check()
            run.store.ensure()
            attempt = ShardAttempt(stage, run, shard, inputs, lock)
            receipt = attempt.place(sink.rows, sink if isinstance(sink, Journal) else None)
            clock.append(time.perf_counter())
            seconds = {name: round(clock[i + 1] - clock[i], 4) for i, name in enumerate(("read", "compute", "write"))}
            processor = round(time.process_time() - processor, 4)
            receipt = attempt.commit(
                replace(
                    receipt, seconds=seconds, processor_seconds=processor, device=control.device, environment=census()
                )
            )
        sink.discard()
        if crashing:
            run.store.remove(crashed_path(stage.name, number))
        return receipt


def _open_sink(stage: Stage, run: Run, number: int, identity: str, lock: Lock) -> OutcomeSink:
    if not stage.extensions:
        return RowSink()
    folder = run.store.scratch_folder() / stage.name / "journal"
    return Journal(folder, number, identity, Ownership(lock.token, lock.check_soon, lock.check))


def _check_keys(tasks: Sequence[Task], stage: str) -> None:
    seen: set[str] = set()
    for task in tasks:
        if not _KEY.fullmatch(task.key):
            raise UsageError(
                f"{stage}: '{task.key}' cannot be a key: want [a-z0-9_-]+, with no dot (readers cut a name at its first dot)"
            )
        if task.key in seen:
            raise ProcropError(
                f"{stage}: the key '{task.key}' occurs twice in one shard; this is a bug, please report it"
            )
        seen.add(task.key)


def _work(
    stage: Stage, shard: Shard, tasks: Sequence[Task], sink: OutcomeSink, control: Control, crashing: Mapping[str, str]
) -> None:
    in_a_row = 0
    starts = range(sink.batches * stage.micro_batch, len(tasks), stage.micro_batch)
    for outcomes in _outcomes(stage, shard, tasks, starts, control, crashing):
        sink.append(outcomes)
        ends = [outcome.status for outcome in outcomes]
        control.report(Event(stage.name, shard.number, ends.count("kept"), ends.count("rejected"), ends.count(FAILED)))
        for outcome in outcomes:
            in_a_row = in_a_row + 1 if outcome.status == FAILED else 0
            if in_a_row >= control.max_consecutive_failures:
                raise TooManyFailuresError(
                    f"{stage.name} failed {in_a_row} samples in a row, the last with {outcome.detail}: samples are not the cause"
                )


def _outcomes(
    stage: Stage, shard: Shard, tasks: Sequence[Task], starts: range, control: Control, crashing: Mapping[str, str]
) -> Iterator[list[Outcome]]:
    """Outcomes of each micro-batch, in order. Raises InterruptedRunError before a micro-batch when it should stop."""

    def begin(index: int) -> None:
        if control.stopping():
            raise InterruptedRunError(f"stopped in {stage.name} shard {shard.number}; run the same command to go on")
        control.beginning(starts[index])

    def failed(batch: Sequence[Task], error: Exception) -> list[Outcome]:
        if not isinstance(error, SAMPLE_ERRORS):
            raise error
        return attempt(stage, batch, shard)

    batches = [tasks[start : start + stage.micro_batch] for start in starts]
    if isinstance(stage, SplitStage) and control.overlap and not crashing:
        yield from prefetched(stage, shard, batches, BatchHooks(begin, failed))
        control.beginning(-1)
        return
    for index, batch in enumerate(batches):
        begin(index)
        outcomes = _without_crashing(stage, batch, shard, crashing) if crashing else attempt(stage, batch, shard)
        control.beginning(-1)
        yield outcomes


def _without_crashing(stage: Stage, batch: Sequence[Task], shard: Shard, crashing: Mapping[str, str]) -> list[Outcome]:
    """Outcomes of a micro-batch whose crashing samples are not run."""
    rest = [task for task in batch if task.key not in crashing]
    done = iter(attempt(stage, rest, shard) if rest else [])
    return [outcome_of(task.key, crashing[task.key]) if task.key in crashing else next(done) for task in batch]


def attempt(stage: Stage, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
    """Outcomes of a micro-batch; when it fails, of its halves, so that one bad sample costs only itself."""
    try:
        outcomes = stage.run(tasks, shard)
    except ProcropError:
        raise
    except SAMPLE_ERRORS as error:
        if isinstance(error, NotImplementedError | RecursionError):
            raise
        if len(tasks) == 1:
            return [Outcome.failed(tasks[0].key, error)]
        half = len(tasks) // 2
        return attempt(stage, tasks[:half], shard) + attempt(stage, tasks[half:], shard)
    if [outcome.key for outcome in outcomes] != [task.key for task in tasks]:
        raise ProcropError(f"{stage.name} returned other keys than it was given; this is a bug, please report it")
    return outcomes
