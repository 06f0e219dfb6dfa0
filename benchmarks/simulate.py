"""``bench simulate``: hours that the simulation of ``plan --simulate`` foretells beside those of real runs on 1, 2 and 4 workers.

    procrop-data bench simulate

A stage that sleeps, a lognormal time a shard, on the local executor. From the receipts of the run on one worker come the
mean and the spread of shards, from its clock the start of a worker. The others are predicted from it, as the mean of 50 seeds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import environment, finish
from pipeline.core.records import Source
from pipeline.core.stage import Outcome, Shard, Stage, Task
from pipeline.engine.executors.local import LocalExecutor
from pipeline.planning.cluster_simulation import SimulatedFleet, SimulatedStage, simulate, spread_of
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store

SEEDS = 50


class Sleeping(Stage):
    """One task a shard, which sleeps."""

    name = "sleeping"
    version = 1
    record = Source

    def __init__(self, seconds: float, sigma: float) -> None:
        self._mean, self._sigma = seconds, sigma

    def settings(self) -> dict[str, Any]:
        return {}

    def models(self) -> dict[str, str]:
        return {}

    def tasks(self, shard: Shard) -> list[Task]:
        draw = np.random.default_rng(shard.number).standard_normal()
        return [Task(f"{shard.number:06d}", self._mean * float(np.exp(self._sigma * draw - self._sigma**2 / 2)))]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        for task in tasks:
            time.sleep(task.payload)
        return [Outcome.rejected(task.key, "slept", "") for task in tasks]

    reasons = ("slept",)


def real(home: Path, workers: int, options: argparse.Namespace) -> tuple[float, list[Receipt]]:
    """Seconds by the clock of a real run, and its receipts."""
    store = open_store(str(home / f"run-{workers}"))
    run = Run(store, freeze_plan(store, Plan("sleeping", 0, options.shards)))
    stage = Sleeping(options.seconds, options.sigma)
    started = time.perf_counter()
    with LocalExecutor(run, [stage], workers=workers, on_event=lambda event: None) as executor:
        receipts = list(executor.map(stage, range(options.shards)))
        took = time.perf_counter() - started
    return took, receipts


def main(arguments: Sequence[str]) -> None:
    """Measure, foretell, compare."""
    parser = argparse.ArgumentParser(prog="procrop-data bench simulate", description=__doc__)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=0.4, help="mean of a shard")
    parser.add_argument("--sigma", type=float, default=0.5)
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory(prefix="procrop-simulate-") as folder:
        runs = {workers: real(Path(folder), workers, options) for workers in (1, 2, 4)}
    alone, receipts = runs[1]
    seconds = [sum(receipt.seconds.values()) for receipt in receipts]
    step = SimulatedStage("sleeping", options.shards, statistics.mean(seconds), sigma=spread_of(seconds))
    fleets = {workers: SimulatedFleet(workers, start=max(0.0, alone - sum(seconds))) for workers in runs}
    errors = {}
    for workers, (took, _) in runs.items():
        predicted = statistics.mean(simulate([step], fleets[workers], seed).seconds for seed in range(SEEDS))
        errors[str(workers)] = round(100 * (predicted / took - 1), 1)
        print(f"{workers} workers: predicted {predicted:.2f} s, measured {took:.2f} s, {errors[str(workers)]:+.1f} %")
    finish(
        {
            "bench": "simulate", "unit": "% error of the predicted time", "ours": max(abs(e) for e in errors.values()),
            "peers": {}, "ratio": {}, "spread": {}, "errors": errors,
            "measured": {str(workers): round(took, 2) for workers, (took, _) in runs.items()},
            "env": {**environment("numpy"), **vars(options)},
        }
    )  # fmt: skip
