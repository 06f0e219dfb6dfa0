"""Simulation of a run on a cluster: shards are dispatched to workers that have a start-up time and may be lost.

Stages run one after another and each waits for its last shard, as in the runner. Random numbers depend on the seed, the stage, the
shard and the worker only, so fleets of different sizes get the same shards.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.core.seeds import seed_for

HOUR = 3600.0


@dataclass(frozen=True)
class SimulatedStage:
    """One stage; all times in seconds.

    Args:
        name: of the stage.
        shards: how many.
        seconds: mean time of a shard.
        sigma: standard deviation of the logarithm of a shard's time.
        before: time of the run-level steps (prologue, epilogue), which one process does while all others wait.
        load: time until a worker has loaded the models.
        batch: work that a lost worker loses at most, thanks to the journal; 0: the whole shard.
        on: kind of worker that does it.
    """

    name: str
    shards: int
    seconds: float
    sigma: float = 0.0
    before: float = 0.0
    load: float = 0.0
    batch: float = 0.0
    on: str = ""


@dataclass(frozen=True)
class SimulatedFleet:
    """The workers of a simulated run.

    Args:
        workers: of each kind that ``kinds`` does not name.
        kinds: number of workers by kind.
        start: seconds until a new worker is ready.
        lost: how many times an hour a worker is pre-empted or fails.
        away: seconds until a lost worker, or its replacement, begins to start.
        hand: seconds to dispatch a shard; shards are dispatched one at a time.
    """

    workers: int
    kinds: dict[str, int] = field(default_factory=dict)
    start: float = 0.0
    lost: float = 0.0
    away: float = 0.0
    hand: float = 0.0

    def of(self, kind: str) -> int:
        """Number of workers of a kind."""
        return self.kinds.get(kind, self.workers)


@dataclass
class SimulationResult:
    """The outcome of a simulation; all times in seconds.

    Args:
        seconds: wall-clock time of the run.
        by_step: wall-clock time by stage.
        work: time of all shards without any loss.
        idle: of workers without a shard while others finished theirs, added over workers.
        redone: work that was lost and done again.
        losses: how many times a worker was lost.
    """

    seconds: float = 0.0
    by_step: dict[str, float] = field(default_factory=dict)
    work: float = 0.0
    idle: float = 0.0
    redone: float = 0.0
    losses: int = 0

    @property
    def hours(self) -> float:
        """Wall-clock time in hours."""
        return self.seconds / HOUR


def simulate(steps: Sequence[SimulatedStage], fleet: SimulatedFleet, seed: int) -> SimulationResult:
    """Simulate the stages once."""
    result = SimulationResult()
    for step in steps:
        took = step.before + _stage(step, fleet, seed, result)
        result.by_step[step.name] = took
        result.seconds += took
    return result


def _stage(step: SimulatedStage, fleet: SimulatedFleet, seed: int, result: SimulationResult) -> float:
    """Wall-clock seconds of the shards of one stage."""
    pending = deque(durations(step, seed).tolist())
    result.work += sum(pending)
    count = min(fleet.of(step.on), len(pending))
    losses = [_losses(fleet, seed_for(seed, "lost", step.name, worker)) for worker in range(count)]
    next_loss = [next(times) for times in losses]
    free = [(fleet.start, worker, True) for worker in range(count)]  # time, worker, whether it must load its models
    heapq.heapify(free)
    ends, dealt = [0.0] * count, 0.0
    while pending:
        now, worker, fresh = heapq.heappop(free)
        while next_loss[worker] < now:
            next_loss[worker] = now + next(losses[worker])
        now = dealt = max(now, dealt) + fleet.hand
        left, ready = pending.popleft(), now + (step.load if fresh else 0.0)
        if next_loss[worker] >= ready + left:
            ends[worker] = ready + left
            heapq.heappush(free, (ready + left, worker, False))
            continue
        lost_at = next_loss[worker]
        done = max(0.0, lost_at - ready)
        kept = done - done % step.batch if step.batch else 0.0
        pending.append(left - kept)
        result.redone += done - kept
        result.losses += 1
        back = lost_at + fleet.away + fleet.start
        next_loss[worker] = back + next(losses[worker])
        ends[worker] = lost_at
        heapq.heappush(free, (back, worker, True))
    last = max(ends)
    result.idle += sum(last - end for end in ends)
    return last


def durations(step: SimulatedStage, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds of each shard [shards]: lognormal with mean ``step.seconds``."""
    draws = np.random.default_rng(seed_for(seed, "shards", step.name)).standard_normal(step.shards)
    return np.asarray(step.seconds * np.exp(step.sigma * draws - step.sigma**2 / 2), np.float64)


def _losses(fleet: SimulatedFleet, seed: int) -> Iterator[float]:
    """Seconds between the losses of a worker: exponential, an endless sequence."""
    if not fleet.lost:
        while True:
            yield float("inf")
    rng = np.random.default_rng(seed)
    while True:
        yield float(rng.exponential(HOUR / fleet.lost))


def spread_of(seconds: Sequence[float]) -> float:
    """Standard deviation of the logarithm of measured shards' seconds; 0 for fewer than three."""
    logs = np.log([value for value in seconds if value > 0])
    return float(logs.std(ddof=1)) if len(logs) > 2 else 0.0
