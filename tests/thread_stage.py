"""A stage that reports how many threads its process computes with, importable by worker processes."""

import os
from dataclasses import dataclass

from pipeline.core.stage import Outcome, Stage, Task


@dataclass(frozen=True)
class Threads:
    key: str
    worker: int
    torch_threads: int
    wait_policy: str


class CountThreads(Stage):
    """One sample a shard: the process that did it, and the threads that torch would use there."""

    name, record = "count-threads", Threads

    def settings(self):
        return {}

    def tasks(self, shard):
        return [Task(f"k{shard.number}", None)]

    def run(self, tasks, shard):
        import torch

        policy = os.environ["OMP_WAIT_POLICY"]
        return [Outcome.kept(Threads(task.key, os.getpid(), torch.get_num_threads(), policy)) for task in tasks]
