"""Wall-clock forecast: which kind of worker does a stage, steps of one process, requests, and limits that a run exceeds."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass

from pipeline.core.json_types import Json
from pipeline.core.stage import verb_of
from pipeline.core.units import size_text
from pipeline.planning.cost_model import Cost, Forecast

GPU, WORKER, ALONE = "gpu", "worker", "one process"

# Steps that one process does while all others wait: seconds, measured at a number of photographs (BENCHMARKS.md: the rehearsal,
# near-duplicates), and the power of growth, up to a number of photographs and beyond it. The search for near-duplicates compares
# all pairs up to 100,000 photographs, and uses an index beyond (benchmarks/run_steps.py measures it at 10,000 and 100,000). A run's
# own receipts replace the seconds.
ALL_PAIRS = 100_000
SINGLE: dict[str, list[tuple[float, int, float]]] = {
    "sources": [(35.0, 60_500, 1.0)],
    "build: prologue": [(22.9, 60_000, 2.0), (15.3, 100_000, 1.37)],
}
# Requests of a stage to its store: per sample, and per work shard (with those of the runner and the prologue).
# Counted by tests/pipeline/planning/test_wall_clock.py with stand-in models; heartbeats of locks are not counted.
REQUESTS: dict[str, tuple[float, float]] = {
    "ingest": (0, 12), "perceive": (1, 15), "dedup": (1, 18), "caption": (1, 15), "outpaint": (1, 21),
    "propose": (0, 18), "refine": (0, 21), "filter": (0, 28), "build": (1, 86), "embed": (0, 24), "retrieve": (0, 35),
}  # fmt: skip

# The main process of the rehearsal: 210.5 MiB at 6,050 photographs, 239.2 at 60,500 (BENCHMARKS.md).
MAIN_BYTES, MAIN_BYTES_A_PHOTO = 217_000_000, 553
REFERENCE_BYTES = 2 * 320 * (1 + 64)  # a vector and 64 tokens of 320 channels in fp16, as the embedded encoder gives
FILES_A_SHARD = 3
PHOTOS_A_SHARD = 1000  # of a work shard: half an hour to an hour and a half of work, so little to lose, and few files


@dataclass(frozen=True)
class Fleet:
    """The workers and GPUs of a run. Without GPUs, workers do all stages.

    Args:
        workers: number of CPU workers.
        gpus: number of GPUs.
        price: of a worker for an hour.
        gpu_price: of a GPU for an hour.
    """

    workers: int
    gpus: int = 0
    price: float = 0.0
    gpu_price: float = 0.0

    def of(self, kind: str) -> int:
        """Number of workers of a kind."""
        return {GPU: self.gpus, WORKER: self.workers, ALONE: 1}[kind]


@dataclass(frozen=True)
class StageTime:
    """Wall-clock time of a stage, or of a step of one process.

    Args:
        what: the stage or step.
        on: kind of worker that does it.
        hours: wall-clock time.
        busy: how many workers of that kind have a shard.
    """

    what: str
    on: str
    hours: float
    busy: int


@dataclass(frozen=True)
class WallClockForecast:
    """Wall-clock time, hours by kind of worker, money and requests of a whole run."""

    clocks: list[StageTime]
    gpu_hours: float
    worker_hours: float
    money: float
    requests: int

    @property
    def hours(self) -> float:
        """Wall-clock time, one stage after another."""
        return sum(clock.hours for clock in self.clocks)

    @property
    def slowest(self) -> StageTime:
        """The stage or step that takes most time: the first bottleneck."""
        return max(self.clocks, key=lambda clock: clock.hours)

    def as_json(self) -> dict[str, Json]:
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
    forecast: Forecast, fleet: Fleet, on_gpu: Set[str], single: Mapping[str, float]
) -> WallClockForecast:
    """The wall-clock forecast.

    Args:
        forecast: costs by stage.
        fleet: workers and prices.
        on_gpu: stages whose models run on GPUs, if the fleet has some.
        single: seconds of each step that one process does.
    """
    clocks = [_clock(cost, fleet, on_gpu) for cost in forecast.costs]
    clocks += [StageTime(name, ALONE, seconds / 3600, 1) for name, seconds in single.items()]
    gpu = sum(cost.seconds for cost in forecast.costs if kind_of(cost.stage, fleet, on_gpu) == GPU) / 3600
    rest = forecast.worker_hours - gpu + sum(single.values()) / 3600
    requests = sum(requests_of(cost) for cost in forecast.costs)
    return WallClockForecast(clocks, gpu, rest, gpu * fleet.gpu_price + rest * fleet.price, requests)


def kind_of(stage: str, fleet: Fleet, on_gpu: Set[str]) -> str:
    """The kind of worker that does a stage."""
    return GPU if fleet.gpus and stage in on_gpu else WORKER


def _clock(cost: Cost, fleet: Fleet, on_gpu: Set[str]) -> StageTime:
    kind = kind_of(cost.stage, fleet, on_gpu)
    busy = min(fleet.of(kind), cost.shards)
    rounds = math.ceil(cost.shards / busy)  # all wait for the last one, which may be incomplete
    return StageTime(cost.stage, kind, rounds * cost.seconds / cost.shards / 3600, busy)


def requests_of(cost: Cost) -> int:
    """Requests of a stage to its store."""
    a_sample, a_shard = REQUESTS.get(verb_of(cost.stage), (0.0, 0.0))
    return round(a_sample * cost.samples + a_shard * cost.shards)


def single_steps(photos: int, measured: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Seconds of each step that one process does.

    Args:
        photos: of the planned run.
        measured: (seconds, photographs) by step, from this run's receipts; they replace the reference.
    """
    own = {
        name: seconds * _single_step(name, photos) / _single_step(name, at)
        for name, (seconds, at) in measured.items() if at
    }  # fmt: skip
    return {name: _single_step(name, photos) for name in SINGLE} | own


def _single_step(name: str, photos: int) -> float:
    """Seconds of a step by the reference; of one without, in proportion to the photographs."""
    laws = SINGLE.get(name, [(1.0, 1, 1.0)])
    seconds, at, power = laws[-1] if photos > ALL_PAIRS else laws[0]
    growth: float = (max(photos, 1) / at) ** power
    return seconds * growth


@dataclass(frozen=True)
class Limit:
    """A limit that a run of this size exceeds, and the setting to change."""

    what: str
    change: str


def limits(forecast: Forecast, fleet: Fleet, photos: int, final: tuple[int, int]) -> list[Limit]:
    """Limits that a run of this size exceeds. final: samples and bytes of a final shard."""
    return [limit for limit in _limits(forecast, fleet, photos, final) if limit is not None]


def _limits(forecast: Forecast, fleet: Fleet, photos: int, final: tuple[int, int]) -> Sequence[Limit | None]:
    widest = max(cost.shards for cost in forecast.costs)
    most = max(fleet.workers, fleet.gpus)
    work = min(cost.shards for cost in forecast.costs if cost.stage != "build")
    memory = MAIN_BYTES + photos * MAIN_BYTES_A_PHOTO
    tokens = photos * REFERENCE_BYTES
    return [
        _limit_if(
            work < 4 * most,
            f"{work:,} work shards for {most:,} workers",
            f"work_shards={4 * most} (frozen at the start)",
        ),
        _limit_if(
            widest * FILES_A_SHARD > 100_000, f"{widest * FILES_A_SHARD:,} files in one folder", "fewer, larger shards"
        ),
        _limit_if(
            final[1] > 1_000_000_000,
            f"final shards of {size_text(final[1])}",
            f"build.shards={_fitting(forecast, final)}",
        ),
        _limit_if(
            memory > 16 << 30,
            f"{memory / 2**30:.0f} GiB in the main process",
            "a machine with it, or runs of a part each",
        ),
        _limit_if(
            tokens > 64 << 30,
            f"{tokens / 2**30:.0f} GiB of reference tokens",
            "a sample of the photographs as references",
        ),
    ]


def _limit_if(exceeded: bool, what: str, change: str) -> Limit | None:
    return Limit(what, change) if exceeded else None


def _fitting(forecast: Forecast, final: tuple[int, int]) -> int:
    shards = next((cost.shards for cost in forecast.costs if cost.stage == "build"), 1)
    return math.ceil(shards * final[1] / 500_000_000)
