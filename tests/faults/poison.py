"""Stages and models that kill the process that works on them, importable by worker processes."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.stage import Outcome, Stage, Task
from pipeline.engine.executors.local import LocalExecutor
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store


@dataclass(frozen=True)
class Thing:
    key: str
    value: int


class Poisoned(Stage):
    """Twenty samples in two shards. deadly: keys that kill; flag: a file that must be there for it."""

    name, record, micro_batch = "poisoned", Thing, 4

    def __init__(self, deadly=(), *, images=False, how="segfault", flag="", samples=20):
        self.deadly, self.how, self.flag, self.samples = set(deadly), how, flag, samples
        self.extensions = ("jpg",) if images else ()

    def settings(self):
        return {}

    def tasks(self, shard):
        return [Task(f"k{n:02d}", n) for n in range(self.samples) if n % shard.count == shard.number]

    def run(self, tasks, shard):
        for task in tasks:
            if task.key in self.deadly and (not self.flag or os.path.exists(self.flag)):
                self._die()
        return [self._one(task) for task in tasks]

    def _one(self, task):
        files = {"jpg": task.key.encode() * 100} if self.extensions else None
        return Outcome.kept(Thing(task.key, task.payload), files)

    def _die(self):
        if self.how == "once":  # as when another program takes the memory: not the sample's fault
            os.unlink(self.flag)
        if self.how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGSEGV if self.how == "segfault" else signal.SIGKILL)


def run_in(work: Path, shards: int = 2) -> Run:
    store = open_store(str(work))
    return Run(store, freeze_plan(store, Plan("faults", 0, shards)))


def do(stage, work: Path, *, workers=2, shards=(0, 1)):
    """Receipts by shard of a stage done with real processes."""
    run = run_in(work)
    with LocalExecutor(run, [stage], workers=workers, on_event=lambda event: None) as executor:
        return {receipt.shard: receipt for receipt in executor.map(stage, list(shards))}
