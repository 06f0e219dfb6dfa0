"""Worker processes of this machine. Each loads a model once, keeps it for all its shards, and computes with one thread,
so that results do not depend on how many workers there are.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event as StopEvent
from types import FrameType, TracebackType
from typing import Any

from pipeline.errors import InterruptedRunError, ProcropError
from pipeline.plan import Plan
from pipeline.receipts import Receipt
from pipeline.run import Run
from pipeline.stage import Stage
from pipeline.storage import open_store
from pipeline.work import Control, Event, run_shard

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class LocalExecutor:
    """A pool of ``workers`` processes for all stages of a command. Use as a context manager.

    Signals INT, TERM and USR1 let each worker finish its micro-batch and end the command with InterruptedRunError.
    """

    def __init__(self, run: Run, stages: Sequence[Stage], *, workers: int, on_event: Callable[[Event], None]) -> None:
        for name in THREAD_VARIABLES:
            os.environ[name] = "1"  # inherited by the workers, before they import numpy or torch
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._events: Any = context.Queue()
        self._on_event = on_event
        # One pickle for all stages keeps models that several stages share (a scorer in each round) one object a worker.
        payload = pickle.dumps((run.store.url, run.plan, {stage.name: stage for stage in stages}))
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_start_worker,
            initargs=(payload, self._stop, self._events, os.getpid()),
        )
        self._reader = threading.Thread(target=self._read_events, daemon=True)
        self._old_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "LocalExecutor":
        self._reader.start()
        for number in SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._events.put(None)
        self._reader.join(timeout=5)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _read_events(self) -> None:
        while (event := self._events.get()) is not None:
            self._on_event(event)

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterator[Receipt]:
        """Receipts as they come. Raises what a shard raised first, after the others have finished their micro-batch."""
        futures: list[Future[Receipt]] = [self._pool.submit(_work, stage.name, shard) for shard in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ProcropError(
                f"a worker process died in {stage.name} (out of memory?): what was committed is intact; run again, "
                "with fewer --workers if memory was short"
            ) from error
        finally:
            if any(not future.done() for future in futures):
                self._stop.set()
                for future in futures:
                    future.cancel()
        if self._stop.is_set():
            raise InterruptedRunError(f"stopped in {stage.name}; run the same command to go on")


_STATE: dict[str, Any] = {}


def _start_worker(payload: bytes, stop: StopEvent, events: Any, parent: int) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent hears them and tells us through ``stop``
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    url, plan, stages = pickle.loads(payload)
    _STATE.update(run=Run(open_store(url), _as_plan(plan)), stages=stages)
    _STATE["control"] = Control(report=events.put, stopping=stop.is_set)


def _as_plan(plan: Any) -> Plan:
    assert isinstance(plan, Plan)
    return plan


def _die_with(parent: int) -> None:
    """End with the parent: after ``kill -9`` nobody else would, and an orphan would hold its shard's lock."""
    pulse = threading.Event()
    while not pulse.wait(0.2):
        if os.getppid() != parent:
            os._exit(1)


def _work(stage: str, shard: int) -> Receipt:
    return run_shard(_STATE["stages"][stage], _STATE["run"], shard, _STATE["control"])
