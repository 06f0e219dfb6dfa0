"""One worker process, its pipe and its messages. Workers share no queue, so a worker that dies while writing a message leaves no
lock behind that another one waits for.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import Literal, TypeAlias

from pipeline.core.errors import ProcropError
from pipeline.core.stage import WORKER_SLOT, Stage
from pipeline.engine.crash_isolation import try_samples
from pipeline.engine.shard_runner import Control, Event, run_shard
from pipeline.runs.plan import Plan
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.base import Store

SignalHandler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class Job:
    """A shard to do.

    Args:
        stage: name of the stage.
        shard: number of the shard.
        keys: try these samples of the shard and discard the outcomes, instead of doing the shard.
        alone: prepare no micro-batch ahead, so that a crash belongs to the micro-batch that was reported last.
    """

    stage: str
    shard: int
    keys: Sequence[str] = ()
    alone: bool = False


@dataclass(frozen=True)
class WorkerMessage:
    """What a worker process or an actor reports.

    Args:
        kind: ``begun``, ``event``, ``done``, ``error``, ``died``; of actors also ``held``, ``leaving``, ``stopped``.
        receipt: of ``done``; None after samples were tried.
        event: of ``event``.
        start: of ``begun``: index of the micro-batch's first task, -1 between micro-batches.
        error: of ``error``: the exception and its traceback.
        text: of ``died``: how; of ``held``: who holds the lock.
    """

    kind: str
    receipt: Receipt | None = None
    event: Event | None = None
    start: int = -1
    error: tuple[Exception, str] | None = None
    text: str = ""


class Worker:
    """A worker process as its parent sees it.

    job: what it works on, None when it is idle; start: the micro-batch that it reported last, -1 between micro-batches; slot:
    its number among the living workers, from 0.
    """

    def __init__(self, payload: bytes, slot: int = 0) -> None:
        self.slot = slot
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_worker_main, args=(theirs, payload, os.getpid(), slot), daemon=True)
        # A signal to the process group must not reach the child before it ignores signals. The resource tracker that every
        # spawned process needs unblocks signals when it starts, so it is started first.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.job: Job | None = None
        self.start = -1
        self._stop_sent = False

    def give(self, job: Job) -> None:
        """Send a job. A dead process is noticed by ``listen``, not here."""
        self.job, self.start, self._stop_sent = job, -1, False
        self._send(job)

    def stop(self) -> None:
        """Ask it, once, to end its shard after the current micro-batch."""
        if self.job is not None and not self._stop_sent:
            self._stop_sent = True
            self._send("stop")

    def listen(self) -> WorkerMessage:
        """Its next message; blocks until there is one."""
        try:
            message: WorkerMessage = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return WorkerMessage("died", text=self._death())
        if message.kind == "begun":
            self.start = message.start
        elif message.kind in ("done", "error"):
            self.job = None
        return message

    def _death(self) -> str:
        self._process.join()  # reaped, so that its lock counts as that of a dead process
        code = self._process.exitcode or 0
        return f"signal {-code} {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Let it finish its current micro-batch, and wait until it has ended."""
        self.stop()
        while self.job is not None and self.listen().kind != "died":
            pass
        self._send(None)
        self.pipe.close()
        self._process.join()

    def _send(self, message: Job | Literal["stop"] | None) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            return


class RemoteTraceback(Exception):
    """The traceback of an error in a worker, shown with ``--debug`` and for bugs."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _worker_main(pipe: Connection, payload: bytes, parent: int, slot: int) -> None:
    os.environ[WORKER_SLOT] = str(slot)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent handles them and sends "stop"
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    worker: _ShardWorker | None = None
    try:
        while (job := pipe.recv()) is not None:
            if job == "stop":
                continue  # it arrived after the end of the job
            try:
                worker = worker or _ShardWorker(pipe, payload)
                pipe.send(WorkerMessage("done", receipt=worker.do(job)))
            except Exception as error:  # noqa: BLE001 - the parent decides what it means
                pipe.send(WorkerMessage("error", error=portable(error)))
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone


class _ShardWorker:
    """The stages with their models and the run directory, unpickled in this process."""

    def __init__(self, pipe: Connection, payload: bytes) -> None:
        unpickled: tuple[Store, Plan, dict[str, Stage]] = pickle.loads(payload)
        store, plan, self._stages = unpickled
        self._run = Run(store, plan)
        # While there is a job, the parent sends nothing but "stop", so any message means to stop.
        self._control = Control(
            report=lambda event: pipe.send(WorkerMessage("event", event=event)),
            stopping=pipe.poll,
            beginning=lambda start: pipe.send(WorkerMessage("begun", start=start)),
        )

    def do(self, job: Job) -> Receipt | None:
        stage = self._stages[job.stage]
        if job.keys:
            try_samples(stage, self._run, job.shard, job.keys)
            return None
        return run_shard(stage, self._run, job.shard, replace(self._control, overlap=not job.alone))


def portable(error: Exception) -> tuple[Exception, str]:
    """An error that can be pickled, and its traceback as text."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an error class with a constructor of its own
        error = ProcropError(f"{type(error).__name__}: {error}")
    return error, text


def error_of(message: WorkerMessage) -> Exception:
    """The exception of an ``error`` message, with the worker's traceback as its cause."""
    assert message.error is not None
    error, text = message.error
    if isinstance(error, MemoryError):
        return ProcropError("out of memory: what was committed is intact; run again with fewer --workers")
    error.__cause__ = RemoteTraceback(text)
    return error


def _exit_with_parent(parent: int) -> None:
    """End when the parent has ended: after ``kill -9`` nothing else ends a worker, and an orphan would keep its shard's lock."""
    pulse = threading.Event()
    while not pulse.wait(0.2):
        if os.getppid() != parent:
            os._exit(1)
