"""One worker process: its pipe, the job it has in hand, and what it says. Nothing is shared with other workers, so that a
death in the middle of a word leaves no lock behind that somebody waits for.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from pipeline.core.errors import ProcropError
from pipeline.core.stage import WORKER_SLOT
from pipeline.engine.crash_isolation import probe
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.run_directory import Run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class Job:
    """A shard to do or, with keys, samples of it to try. alone: one micro-batch at a time, so that a death names its own."""

    stage: str
    shard: int
    keys: Sequence[str] = ()
    alone: bool = False


@dataclass(frozen=True)
class Said:
    """What a worker told. kind: ``begun`` (a micro-batch, by its start), ``event``, ``done`` (a receipt), ``error``, ``died``."""

    kind: str
    what: Any = None


class Worker:
    """The parent's end. ``job`` is what it works on, ``start`` the micro-batch in hand, -1 outside of one. ``slot`` is its
    number among those that live, from 0.
    """

    def __init__(self, payload: bytes, slot: int = 0) -> None:
        self.slot = slot
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, payload, os.getpid(), slot), daemon=True)
        # A signal to the whole group must not catch the child before it can look away. The tracker that every spawned process
        # needs unblocks signals when it is started, so it is started before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.job: Job | None = None
        self.start = -1
        self._told = False

    def give(self, job: Job) -> None:
        """Hand over a job. Death is noticed when listening, not here."""
        self.job, self.start, self._told = job, -1, False
        self._send(job)

    def stop(self) -> None:
        """Ask it, once, to end its shard after the micro-batch in hand."""
        if self.job is not None and not self._told:
            self._told = True
            self._send("stop")

    def listen(self) -> Said:
        """The next thing that it says; waits for it."""
        try:
            said: Said = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return Said("died", self._death())
        if said.kind == "begun":
            self.start = said.what
        elif said.kind in ("done", "error"):
            self.job = None
        return said

    def _death(self) -> str:
        self._process.join()  # reaped, so that its lock is seen to be a dead one's
        code = self._process.exitcode or 0
        return f"signal {-code} {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Let it end, and wait for it; what it has in hand is finished first."""
        self.stop()
        while self.job is not None and self.listen().kind != "died":
            pass
        self._send(None)
        self.pipe.close()
        self._process.join()

    def _send(self, message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            return


class RemoteTraceback(Exception):
    """Where in the worker an error came from, for ``--debug`` and for bugs."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _live(pipe: Connection, payload: bytes, parent: int, slot: int) -> None:
    os.environ[WORKER_SLOT] = str(slot)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent hears them and tells us
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    hands = None
    try:
        while (job := pipe.recv()) is not None:
            if job == "stop":
                continue  # it came after the job's end
            try:
                hands = hands or _Hands(pipe, payload)
                pipe.send(Said("done", hands.do(job)))
            except Exception as error:  # noqa: BLE001 - the parent decides what it means
                pipe.send(Said("error", portable(error)))
    except (EOFError, OSError):
        os._exit(1)  # nobody listens


class _Hands:
    """Stages with their models, and the run directory, as this process has them."""

    def __init__(self, pipe: Connection, payload: bytes) -> None:
        store, plan, self._stages = pickle.loads(payload)  # type: Any, Any, dict[str, Any]
        self._run = Run(store, plan)
        # While there is a job, the parent sends nothing but the wish to stop.
        self._control = Control(
            report=lambda event: pipe.send(Said("event", event)),
            stopping=pipe.poll,
            beginning=lambda start: pipe.send(Said("begun", start)),
        )

    def do(self, job: Job) -> Any:
        stage = self._stages[job.stage]
        if job.keys:
            return probe(stage, self._run, job.shard, job.keys)
        return run_shard(stage, self._run, job.shard, replace(self._control, overlap=not job.alone))


def portable(error: Exception) -> tuple[Exception, str]:
    """An error that survives the pipe, and its traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an error class with a constructor of its own
        error = ProcropError(f"{type(error).__name__}: {error}")
    return error, text


def error_of(said: Said) -> Exception:
    """The error that a worker told of."""
    error, text = said.what
    if isinstance(error, MemoryError):
        return ProcropError("out of memory: what was committed is intact; run again with fewer --workers")
    assert isinstance(error, Exception)
    error.__cause__ = RemoteTraceback(text)
    return error


def _die_with(parent: int) -> None:
    """End with the parent: after ``kill -9`` nobody else would, and an orphan would hold its shard's lock."""
    pulse = threading.Event()
    while not pulse.wait(0.2):
        if os.getppid() != parent:
            os._exit(1)
