"""A forecast by the clock: which kind of worker does a stage, what one process does alone, requests, and what gives way first."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.planning.cost_model import Cost, Forecast

GPU, WORKER, ALONE = "gpu", "worker", "one process"

# Seconds of what one process does while all others wait, measured at so many photographs (BENCHMARKS.md: the rehearsal,
# near-duplicates), and the power that they grow with, which is assumed: a search of all with all grows with the square at worst,
# so far beyond 60,000 its hours are an upper bound. A run's own receipts replace them.
SINGLE: dict[str, tuple[float, int, float]] = {
    "sources": (35.0, 60_500, 1.0),
    "build: prologue": (22.9, 60_000, 2.0),
}
# Requests that a stage makes of its store: a sample, and a work shard (what the runner and a prologue read is among them).
# Counted by tests/pipeline/planning/test_wall_clock.py with stand-in models; heartbeats of locks come on top.
REQUESTS: dict[str, tuple[float, float]] = {
    "ingest": (0, 12), "dedup": (1, 15), "caption": (1, 15), "outpaint": (1, 19), "propose": (1, 15), "refine": (1, 21),
    "filter": (0, 28), "build": (1, 56), "embed": (1, 22), "retrieve": (0, 26),
}  # fmt: skip

# The main process of the rehearsal: 210.5 MiB at 6,050 photographs, 239.2 at 60,500 (BENCHMARKS.md).
MAIN_BYTES, MAIN_BYTES_A_PHOTO = 217_000_000, 553
REFERENCE_BYTES = 2 * 320 * (1 + 64)  # a vector and 64 tokens of 320 channels in fp16, as the embedded encoder gives
FILES_A_SHARD = 3


@dataclass(frozen=True)
class Fleet:
    """Workers and GPUs at hand, and the price of each for an hour. Without GPUs a worker does all stages."""

    workers: int
    gpus: int = 0
    price: float = 0.0
    gpu_price: float = 0.0

    def of(self, kind: str) -> int:
        """How many of a kind."""
        return {GPU: self.gpus, WORKER: self.workers, ALONE: 1}[kind]


@dataclass(frozen=True)
class StageTime:
    """Hours by the clock of a stage, or of a step that one process does. busy: how many of the kind have a shard."""

    what: str
    on: str
    hours: float
    busy: int


@dataclass(frozen=True)
class WallClockForecast:
    """All of it. slowest: the first bottleneck."""

    clocks: list[StageTime]
    gpu_hours: float
    worker_hours: float
    money: float
    requests: int

    @property
    def hours(self) -> float:
        """By the clock, one stage after another."""
        return sum(clock.hours for clock in self.clocks)

    @property
    def slowest(self) -> StageTime:
        """What takes most of the time."""
        return max(self.clocks, key=lambda clock: clock.hours)

    def as_json(self) -> dict[str, Any]:
        """Part of the object of ``plan --json``."""
        share = self.slowest.hours / self.hours if self.hours else 0.0
        return {
            "clock_hours": round(self.hours, 3),
            "gpu_hours": round(self.gpu_hours, 3),
            "cpu_hours": round(self.worker_hours, 3),
            "requests": self.requests,
            "money": round(self.money, 2),
            "bottleneck": {**asdict(self.slowest), "share": round(share, 3)},
            "clocks": [asdict(clock) for clock in self.clocks],
        }


def wall_clock_forecast(
    found: Forecast, means: Fleet, on_gpu: Set[str], single: Mapping[str, float]
) -> WallClockForecast:
    """The forecast by the clock. on_gpu: stages that GPUs do, where there are some; single: seconds of steps by name."""
    clocks = [_clock(cost, means, on_gpu) for cost in found.costs]
    clocks += [StageTime(name, ALONE, seconds / 3600, 1) for name, seconds in single.items()]
    gpu = sum(cost.seconds for cost in found.costs if kind_of(cost.stage, means, on_gpu) == GPU) / 3600
    rest = found.worker_hours - gpu + sum(single.values()) / 3600
    requests = sum(requests_of(cost) for cost in found.costs)
    return WallClockForecast(clocks, gpu, rest, gpu * means.gpu_price + rest * means.price, requests)


def kind_of(stage: str, means: Fleet, on_gpu: Set[str]) -> str:
    """Who does a stage."""
    return GPU if means.gpus and stage in on_gpu else WORKER


def _clock(cost: Cost, means: Fleet, on_gpu: Set[str]) -> StageTime:
    kind = kind_of(cost.stage, means, on_gpu)
    busy = min(means.of(kind), cost.shards)
    rounds = math.ceil(cost.shards / busy)  # the last of them may be a part, and all wait for it
    return StageTime(cost.stage, kind, rounds * cost.seconds / cost.shards / 3600, busy)


def requests_of(cost: Cost) -> int:
    """Requests of a stage to its store."""
    a_sample, a_shard = REQUESTS.get(cost.stage.split("/")[0], (0.0, 0.0))
    return round(a_sample * cost.samples + a_shard * cost.shards)


def single_steps(photos: int, measured: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Seconds of each step that one process does. measured: seconds at so many photographs, where this run's receipts tell them."""
    powers = {name: power for name, (_, _, power) in SINGLE.items()}
    known = {name: (seconds, at) for name, (seconds, at, _) in SINGLE.items()} | dict(measured)
    return {name: seconds * (photos / at) ** powers.get(name, 1.0) for name, (seconds, at) in known.items()}


@dataclass(frozen=True)
class Limit:
    """Something that a run of this size passes: what, how much, and what to change."""

    what: str
    change: str


def limits(found: Forecast, means: Fleet, photos: int, final: tuple[int, int]) -> list[Limit]:
    """What a run of this size passes. final: samples and bytes a final shard."""
    return [limit for limit in _limits(found, means, photos, final) if limit is not None]


def _limits(found: Forecast, means: Fleet, photos: int, final: tuple[int, int]) -> Sequence[Limit | None]:
    widest = max(cost.shards for cost in found.costs)
    most = max(means.workers, means.gpus)
    work = min(cost.shards for cost in found.costs if cost.stage != "build")
    memory = MAIN_BYTES + photos * MAIN_BYTES_A_PHOTO
    tokens = photos * REFERENCE_BYTES
    return [
        _passed(
            work < 4 * most,
            f"{work:,} work shards for {most:,} workers",
            f"work_shards={4 * most} (frozen at the start)",
        ),
        _passed(
            widest * FILES_A_SHARD > 100_000, f"{widest * FILES_A_SHARD:,} files in one folder", "fewer, larger shards"
        ),
        _passed(
            final[1] > 1_000_000_000, f"final shards of {final[1]:,} bytes", f"build.shards={_fitting(found, final)}"
        ),
        _passed(
            memory > 16 << 30,
            f"{memory / 2**30:.0f} GiB in the main process",
            "a machine with it, or runs of a part each",
        ),
        _passed(
            tokens > 64 << 30,
            f"{tokens / 2**30:.0f} GiB of reference tokens",
            "a sample of the photographs as references",
        ),
    ]


def _passed(passed: bool, what: str, change: str) -> Limit | None:
    return Limit(what, change) if passed else None


def _fitting(found: Forecast, final: tuple[int, int]) -> int:
    shards = next((cost.shards for cost in found.costs if cost.stage == "build"), 1)
    return math.ceil(shards * final[1] / 500_000_000)
