"""A writer of ``bench faults``: runs all stages in a thread, and dies or sleeps at one of its operations."""

import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from benchmarks.fault_stages import SHARDS, stages_of
from pipeline.core.errors import ProcropError
from pipeline.core.stage import Stage
from pipeline.engine.runner import Options, StageResult, run_stages
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.base import Store
from pipeline.storage.locks import LOCK_TIMING, LockTiming

OPERATIONS = {
    "read", "read_range", "write", "create", "adopt", "create_from", "copy_in", "exists", "size", "names", "remove", "move",
    "etag", "remove_if", "replace_if",
}  # fmt: skip
TIMING = replace(LOCK_TIMING, heartbeat=3600.0, watch=0.2, timeout=0.2, settle=0.01)
WAIT_S = 60.0
DIE, SLEEP = "die", "sleep"


class Killed(BaseException):
    """The writer is dead: none of its operations, those of its cleaning up included, is done."""


class Quiet:
    """A watcher that shows nothing."""

    def begin(self, stage: str, todo: int, total: int) -> None: ...
    def shard_done(self, receipt: Receipt) -> None: ...
    def end(self, result: StageResult) -> None: ...


class ActorStore:
    """Passes on to a store, and asks its actor before each operation."""

    def __init__(self, store: Store, actor: "Actor") -> None:
        self._store, self._actor = store, actor

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if name not in OPERATIONS:
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            self._actor.step()
            return self._actor.answer(name, arguments, value(*arguments, **options))

        return call

    @contextmanager
    def guard(self, path: str) -> Any:
        """On a disk nobody can sleep in it for others: they wait, as the kernel makes them."""
        with self._store.guard(path) as alone:
            self._actor.guarded += 1
            try:
                yield alone
            finally:
                self._actor.guarded -= 1


class Executor:
    """Does shards one after the other in this thread."""

    def __init__(self, run: Run, timing: LockTiming = TIMING) -> None:
        self._run, self._timing = run, timing

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterable[Receipt]:
        """Receipts of the shards."""
        return [run_shard(stage, self._run, shard, Control(lock_timing=self._timing)) for shard in shards]


class Actor:
    """One process.

    Args:
        store: of the run directory, this actor's own.
        machine: that it runs on; decides its pixels.
        at: number of the operation at which it acts; 0 for never.
        act: ``DIE`` or ``SLEEP``.
        timing: of its locks.
        stale: whether its listings are as old as the actor, now and then.
        foreign: whether it takes all locks for those of another machine.
        pace: called at each operation.
    """

    def __init__(self, store: Store, machine: str, **options: Any) -> None:
        self.raw, self.store, self.machine = store, ActorStore(store, self), machine
        self.at, self.act = options.get("at", 0), options.get("act", DIE)
        self._timing, self._foreign = options.get("timing", TIMING), options.get("foreign", False)
        self._pace = options.get("pace", lambda count: None)
        self._stale = {folder: store.names(folder) for folder in _folders(store)} if options.get("stale") else {}
        self.count = self.guarded = 0
        self.asleep, self.wake, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.word, self.trace = "", ""
        self._dead = False
        self._thread = threading.Thread(target=self._live, daemon=True)

    def step(self) -> None:
        """Before each operation."""
        if self._dead:
            raise Killed
        self.count += 1
        self._pace(self.count)
        if not self.at or self.count < self.at or (self.act == SLEEP and self.guarded and _is_disk(self.raw)):
            return
        self.at = 0
        if self.act == DIE:
            self._dead = True
            raise Killed
        self.asleep.set()
        self.wake.wait(WAIT_S)

    def answer(self, name: str, arguments: tuple[Any, ...], result: Any) -> Any:
        """What the actor sees of an answer."""
        if name == "names" and arguments[0] in self._stale and self.count % 3 == 0:
            return self._stale[arguments[0]]
        if name == "read" and self._foreign and arguments[0].startswith("locks/"):
            return json.dumps({**json.loads(result), "host": "elsewhere"}).encode()
        return result

    def run(self) -> Run:
        """The run directory, opened as this actor sees it."""
        store: Any = self.store
        return Run(store, freeze_plan(store, Plan("faults", 0, SHARDS)))

    def work(self, run: Run) -> None:
        """What the actor does: the whole run."""
        stages = stages_of(self.machine, self.step)
        run_stages(stages, run, Executor(run, self._timing), watcher=Quiet(), chain=stages, options=Options())

    def _live(self) -> None:
        try:
            self.work(self.run())
            self.word = "done"
        except Killed:
            self.word = "killed"
        except ProcropError as error:
            self.word, self.trace = type(error).__name__, str(error)
        except BaseException:  # noqa: BLE001 - a traceback is what must not happen
            self.word, self.trace = "broken", traceback.format_exc()
        finally:
            self.ended.set()
            self.asleep.set()

    def start(self) -> "Actor":
        """Run until the end, death or sleep."""
        self._thread.start()
        if not self.asleep.wait(WAIT_S):
            self.word, self.trace = "broken", "it hangs"
        return self

    def begin(self) -> "Actor":
        """Run beside the caller."""
        self._thread.start()
        return self

    def finish(self) -> "Actor":
        """Wake up, and run until the end."""
        self.wake.set()
        self._thread.join(WAIT_S)
        if self._thread.is_alive():
            self.word, self.trace = "broken", "it hangs"
        return self


def _is_disk(store: Store) -> bool:
    return type(store).__name__ == "LocalStore"


def _folders(store: Store) -> list[str]:
    return ["", "paint", "read", "pack", "pack/retired", "locks", "dataset", "dataset/shards", "lineage"]


@cache
def _ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return process.pid


def give_locks_up(store: Store) -> None:
    """Make all locks those of a process that has ended, so that the next who looks takes them over."""
    for name in store.names("locks"):
        path = f"locks/{name}"
        try:
            holder = json.loads(store.read(path))
        except (FileNotFoundError, ValueError):
            continue
        if isinstance(holder, dict):
            store.write(path, json.dumps({**holder, "pid": _ended_pid()}).encode())
