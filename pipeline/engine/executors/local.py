"""Worker processes of this machine. Each loads a model once, keeps it for all its shards, and computes with one thread, so that
results do not depend on the number of workers. A worker that dies is replaced; the others go on.
"""

import logging
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait
from types import FrameType, TracebackType

from pipeline.core.errors import InterruptedRunError
from pipeline.core.stage import Stage
from pipeline.engine.crash_isolation import Attempt, DeathCounter, run_isolated
from pipeline.engine.executors.process_worker import SIGNALS, Job, SignalHandler, Worker, WorkerMessage, error_of
from pipeline.engine.executors.worker_environment import worker_environment
from pipeline.engine.shard_runner import Event
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run

LISTEN_S = 0.2
_log = logging.getLogger(__name__)


class LocalExecutor:
    """A pool of ``workers`` processes for all stages of a command. Use as a context manager.

    Signals INT, TERM and USR1 let each worker finish its micro-batch and end the command with InterruptedRunError.
    """

    def __init__(self, run: Run, stages: Sequence[Stage], *, workers: int, on_event: Callable[[Event], None]) -> None:
        os.environ.update(worker_environment())  # inherited by the workers, before they import numpy or torch
        self._run = run
        self._stages = {stage.name: stage for stage in stages}
        self._limit = workers
        self._on_event = on_event
        self._stop = False
        self._workers: list[Worker] = []
        self._old_handlers: dict[signal.Signals, SignalHandler] = {}

    def __enter__(self) -> "LocalExecutor":
        for number in SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_workers()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True  # no lock and no pipe is touched here, so a second signal cannot interrupt their use

    @property
    def stopping(self) -> bool:
        """Whether a signal to end was received."""
        return self._stop

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterator[Receipt]:
        """Receipts as they come. Raises what a shard raised first, after the others have finished their micro-batch."""
        alone: list[int] = []
        yield from self._run_concurrently(stage, deque(shards), alone)
        if alone:
            self._close_workers()  # their memory may be what an isolated shard lacks
        for shard in alone:
            yield run_isolated(stage, self._run, shard, partial(self._in_fresh_process, stage, shard))
        if self._stop:
            raise _stopped(stage)

    def _run_concurrently(self, stage: Stage, todo: deque[int], alone: list[int]) -> Iterator[Receipt]:
        """Do shards, several at a time. alone: collects the shards whose process died too often."""
        deaths, first = DeathCounter(self._limit), None  # type: DeathCounter, Exception | None
        while todo or self._busy():
            if self._stop or first:
                todo.clear()
                for worker in self._busy():
                    worker.stop()
            if deaths.exceeded:
                _log.warning("processes die in %s: its shards are done one at a time", stage.name)
                alone += todo
                todo.clear()
            while todo and (free := self._free()):
                free.give(Job(stage.name, todo.popleft()))
            for _, job, message in self._replies():
                if message.kind == "done":
                    assert message.receipt is not None
                    yield message.receipt
                elif message.kind == "error":
                    first = first or error_of(message)
                elif message.kind == "died":
                    (todo if deaths.add(job.shard) else alone).append(job.shard)
                    _log.info("a worker died (%s) in %s shard %d", message.text, stage.name, job.shard)
                if message.kind in ("done", "event"):
                    deaths.progress()
        if first:
            raise first
        if self._stop:
            raise _stopped(stage)

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _free(self) -> Worker | None:
        """An idle worker, or a new one while there are fewer than the limit."""
        idle = next((worker for worker in self._workers if worker.job is None), None)
        if idle is None and len(self._workers) < self._limit:
            payload = pickle.dumps((self._run.store, self._run.plan, self._stages))
            # One pickle for all stages, so that a model that several stages share (a scorer of each round) is one object a worker.
            taken = {worker.slot for worker in self._workers}
            idle = Worker(payload, min(set(range(self._limit)) - taken))
            self._workers.append(idle)
        return idle

    def _replies(self) -> Iterator[tuple[Worker, Job, WorkerMessage]]:
        """Messages of busy workers, within ``LISTEN_S`` seconds; dead workers are removed."""
        by_pipe = {worker.pipe: worker for worker in self._busy()}
        for pipe in wait(list(by_pipe), LISTEN_S):
            worker = by_pipe[pipe]  # type: ignore[index]  # one of the keys above
            job = worker.job
            message = worker.listen()
            if message.kind == "died":
                self._workers.remove(worker)
            if message.event is not None:
                self._on_event(message.event)
            if job is not None:
                yield worker, job, message

    def _in_fresh_process(self, stage: Stage, shard: int, keys: Sequence[str]) -> Attempt:
        """Do a shard, or try samples of it, in a process that nothing else uses (``crash_isolation.run_isolated``)."""
        last, start = self._single(Job(stage.name, shard, keys, alone=not keys))
        return Attempt(last.receipt, last.text, start)

    def _single(self, job: Job) -> tuple[WorkerMessage, int]:
        """The last message of a job in a process of its own, and the last micro-batch that it began. Raises what a shard raised."""
        self._close_workers()
        if self._stop:
            raise _stopped(self._stages[job.stage])
        worker = self._free()
        assert worker is not None
        worker.give(job)
        while True:
            if self._stop:
                worker.stop()
            for _, _, message in self._replies():
                if message.kind == "error" and not job.keys:
                    raise error_of(message)
                if message.kind in ("done", "error", "died"):
                    if self._stop:
                        raise _stopped(self._stages[job.stage])
                    return message, worker.start

    def _close_workers(self) -> None:
        for worker in self._workers:
            worker.stop()
        while self._workers:
            self._workers.pop().close()


def _stopped(stage: Stage) -> InterruptedRunError:
    return InterruptedRunError(f"stopped in {stage.name}; run the same command to go on")
