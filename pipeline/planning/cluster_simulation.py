"""A run by the clock before it is run: shards handed to workers that are slow, pre-empted and started again.

Stages come one after another and each waits for its last shard, as in the runner. Everything is drawn from the seed, the stage, the
shard and the worker, so fleets of different sizes meet the same shards. Nothing here reads a clock.
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
    """A stage. shards of ``seconds`` each in the mean, ``sigma``: standard deviation of their logarithm. before: seconds of what is
    done once by one process meanwhile all wait (prologue, epilogue). load: seconds until a worker has the models. batch: seconds
    of work that a lost worker loses at most, where there is a journal; 0: all of the shard. on: which kind of worker.
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
    """workers; kinds: how many of a kind where it is another number. start: seconds until a new worker is ready; lost: times an
    hour that a worker is pre-empted or fails; away: seconds until it, or another, begins to start again. hand: seconds to hand
    over a shard, one at a time.
    """

    workers: int
    kinds: dict[str, int] = field(default_factory=dict)
    start: float = 0.0
    lost: float = 0.0
    away: float = 0.0
    hand: float = 0.0

    def of(self, kind: str) -> int:
        """How many of a kind."""
        return self.kinds.get(kind, self.workers)


@dataclass
class SimulationResult:
    """What came of it. by_step: seconds by the clock. work: seconds of shards if nothing were lost. idle: of workers without a
    shard while others still had theirs. redone: seconds of work lost. losses: how many times a worker was.
    """

    seconds: float = 0.0
    by_step: dict[str, float] = field(default_factory=dict)
    work: float = 0.0
    idle: float = 0.0
    redone: float = 0.0
    losses: int = 0

    @property
    def hours(self) -> float:
        """By the clock."""
        return self.seconds / HOUR


def simulate(steps: Sequence[SimulatedStage], fleet: SimulatedFleet, seed: int) -> SimulationResult:
    """Run the steps once."""
    told = SimulationResult()
    for step in steps:
        took = step.before + _stage(step, fleet, seed, told)
        told.by_step[step.name] = took
        told.seconds += took
    return told


def _stage(step: SimulatedStage, fleet: SimulatedFleet, seed: int, told: SimulationResult) -> float:
    """Seconds by the clock of the shards of one stage."""
    todo = deque(durations(step, seed).tolist())
    told.work += sum(todo)
    count = min(fleet.of(step.on), len(todo))
    losses = [_losses(fleet, seed_for(seed, "lost", step.name, worker)) for worker in range(count)]
    next_loss = [next(times) for times in losses]
    free = [(fleet.start, worker, True) for worker in range(count)]  # when, who, whether it must load its models
    heapq.heapify(free)
    ends, dealt = [0.0] * count, 0.0
    while todo:
        now, worker, fresh = heapq.heappop(free)
        while next_loss[worker] < now:
            next_loss[worker] = now + next(losses[worker])
        now = dealt = max(now, dealt) + fleet.hand
        left, ready = todo.popleft(), now + (step.load if fresh else 0.0)
        if next_loss[worker] >= ready + left:
            ends[worker] = ready + left
            heapq.heappush(free, (ready + left, worker, False))
            continue
        lost_at = next_loss[worker]
        done = max(0.0, lost_at - ready)
        kept = done - done % step.batch if step.batch else 0.0
        todo.append(left - kept)
        told.redone += done - kept
        told.losses += 1
        back = lost_at + fleet.away + fleet.start
        next_loss[worker] = back + next(losses[worker])
        ends[worker] = lost_at
        heapq.heappush(free, (back, worker, True))
    last = max(ends)
    told.idle += sum(last - end for end in ends)
    return last


def durations(step: SimulatedStage, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds of each shard: lognormal with the step's mean."""
    draws = np.random.default_rng(seed_for(seed, "shards", step.name)).standard_normal(step.shards)
    return np.asarray(step.seconds * np.exp(step.sigma * draws - step.sigma**2 / 2), np.float64)


def _losses(fleet: SimulatedFleet, seed: int) -> Iterator[float]:
    """Seconds until each next loss of a worker: exponential, without end."""
    if not fleet.lost:
        while True:
            yield float("inf")
    rng = np.random.default_rng(seed)
    while True:
        yield float(rng.exponential(HOUR / fleet.lost))


def spread_of(seconds: Sequence[float]) -> float:
    """Standard deviation of the logarithm of measured shards' seconds; 0 for fewer than three."""
    found = np.log([value for value in seconds if value > 0])
    return float(found.std(ddof=1)) if len(found) > 2 else 0.0
