"""Worker processes of this machine. Each loads a model once, keeps it for all its shards, and computes with one thread,
so that results do not depend on how many workers there are. One that dies is replaced, the others do not notice.
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
from typing import Any

from pipeline.core.errors import InterruptedRunError
from pipeline.core.stage import Stage
from pipeline.engine.crash_isolation import Deaths
from pipeline.engine.crash_isolation import alone as isolated
from pipeline.engine.executors.process_worker import SIGNALS, Job, Said, Worker, error_of
from pipeline.engine.shard_runner import Event
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LISTEN_S = 0.2
_log = logging.getLogger(__name__)


class LocalExecutor:
    """A pool of ``workers`` processes for all stages of a command. Use as a context manager.

    Signals INT, TERM and USR1 let each worker finish its micro-batch and end the command with InterruptedRunError.
    """

    def __init__(self, run: Run, stages: Sequence[Stage], *, workers: int, on_event: Callable[[Event], None]) -> None:
        for name in THREAD_VARIABLES:
            os.environ[name] = "1"  # inherited by the workers, before they import numpy or torch
        self._run = run
        self._stages = {stage.name: stage for stage in stages}
        self._limit = workers
        self._on_event = on_event
        self._stop = False
        self._workers: list[Worker] = []
        self._old_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "LocalExecutor":
        for number in SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send_home()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True  # no lock and no pipe is touched here, so a second signal finds nothing half done

    @property
    def stopping(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._stop

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterator[Receipt]:
        """Receipts as they come. Raises what a shard raised first, after the others have finished their micro-batch."""
        alone: list[int] = []
        yield from self._among_others(stage, deque(shards), alone)
        if alone:
            self._send_home()  # what they hold in memory is what a shard on its own may need
        for shard in alone:
            yield isolated(stage, self._run, shard, partial(self._came_to, stage, shard))
        if self._stop:
            raise _stopped(stage)

    def _among_others(self, stage: Stage, todo: deque[int], alone: list[int]) -> Iterator[Receipt]:
        """Do shards, several at a time. alone: gathers those whose process died too often."""
        deaths, first = Deaths(self._limit), None  # type: Deaths, Exception | None
        while todo or self._busy():
            if self._stop or first:
                todo.clear()
                for worker in self._busy():
                    worker.stop()
            if deaths.hopeless:
                _log.warning("processes die in %s: its shards are done one at a time", stage.name)
                alone += todo
                todo.clear()
            while todo and (free := self._free()):
                free.give(Job(stage.name, todo.popleft()))
            for _, job, said in self._heard():
                if said.kind == "done":
                    yield said.what
                elif said.kind == "error":
                    first = first or error_of(said)
                elif said.kind == "died":
                    (todo if deaths.another(job.shard) else alone).append(job.shard)
                    _log.info("a worker died (%s) in %s shard %d", said.what, stage.name, job.shard)
                if said.kind in ("done", "event"):
                    deaths.progress()
        if first:
            raise first
        if self._stop:
            raise _stopped(stage)

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _free(self) -> Worker | None:
        """A worker without a job, a new one while there may be more."""
        idle = next((worker for worker in self._workers if worker.job is None), None)
        if idle is None and len(self._workers) < self._limit:
            payload = pickle.dumps((self._run.store, self._run.plan, self._stages))
            # One pickle for all stages keeps models that several share (a scorer in each round) one object a worker.
            taken = {worker.slot for worker in self._workers}
            idle = Worker(payload, min(set(range(self._limit)) - taken))
            self._workers.append(idle)
        return idle

    def _heard(self) -> Iterator[tuple[Worker, Job, Said]]:
        """What busy workers say within a moment; the dead are struck off."""
        by_pipe = {worker.pipe: worker for worker in self._busy()}
        for pipe in wait(list(by_pipe), LISTEN_S):
            worker = by_pipe[pipe]  # type: ignore[index]  # of those that were asked for
            job = worker.job
            said = worker.listen()
            if said.kind == "died":
                self._workers.remove(worker)
            if said.kind == "event":
                self._on_event(said.what)
            if job is not None:
                yield worker, job, said

    def _came_to(self, stage: Stage, shard: int, keys: Sequence[str]) -> tuple[Receipt | None, str, int]:
        """What a process of its own came to, as ``isolation.alone`` asks."""
        last, start = self._single(Job(stage.name, shard, keys, alone=not keys))
        receipt = last.what if last.kind == "done" and not keys else None
        return receipt, last.what if last.kind == "died" else "", start

    def _single(self, job: Job) -> tuple[Said, int]:
        """The end of a job in a process of its own, and the micro-batch that it had in hand then. Raises what a shard raised."""
        self._send_home()
        if self._stop:
            raise _stopped(self._stages[job.stage])
        worker = self._free()
        assert worker is not None
        worker.give(job)
        while True:
            if self._stop:
                worker.stop()
            for _, _, said in self._heard():
                if said.kind == "error" and not job.keys:
                    raise error_of(said)
                if said.kind in ("done", "error", "died"):
                    if self._stop:
                        raise _stopped(self._stages[job.stage])
                    return said, worker.start

    def _send_home(self) -> None:
        for worker in self._workers:
            worker.stop()
        while self._workers:
            self._workers.pop().close()


def _stopped(stage: Stage) -> InterruptedRunError:
    return InterruptedRunError(f"stopped in {stage.name}; run the same command to go on")
