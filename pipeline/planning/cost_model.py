"""Cost model of a run: seconds, bytes and files by stage from measured rates, hours, and money at a given price."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypedDict

from pipeline.core.records import PERCEIVED_PHOTOS
from pipeline.core.stage import verb_of
from pipeline.runs.receipts import Receipt

# Cost of one sample by stage: processor seconds, bytes written. From the receipts of ``run --config demo`` (66 canvases of
# 512 px) on two x86-64 cores without a GPU; a run's own receipts replace them.
REFERENCE: dict[str, tuple[float, float]] = {
    "ingest": (0.028, 170_000),
    "perceive": (0.56, 55_200),
    "dedup": (0.014, 3_400),
    "caption": (0.012, 590),
    "outpaint": (1.11, 122_000),
    "propose": (0.002, 520),
    "refine": (0.034, 500),
    "filter": (0.001, 430),
    "build": (0.002, 131_000),
    "embed": (0.001, 30_000),
    "retrieve": (0.001, 410),
}
UNKNOWN = (0.0, 0.0)  # of the stages of plug-ins
REFERENCE_SIDE = 512  # long side of the canvases of the reference
REFERENCE_KEPT = 0.79  # of canvases, by the same run: 52 of 66
FILES_A_SHARD = 3  # tar, table and receipt


@dataclass(frozen=True)
class Cost:
    """Cost of one stage. measured: whether the rate is of this run's receipts; else it is the reference."""

    stage: str
    samples: int
    shards: int
    seconds: float
    bytes: int
    measured: bool


@dataclass(frozen=True)
class Size:
    """Size of a run: photographs, canvases painted, and the share of canvases that the filter keeps."""

    photos: int
    canvases: int
    kept: float


class ForecastJson(TypedDict):
    """The part of ``plan --json`` that a ``Forecast`` gives."""

    stages: list[dict[str, str | int | float | bool]]
    workers: int
    worker_hours: float
    hours: float
    bytes: int
    files: int
    price_per_worker_hour: float
    money: float


@dataclass(frozen=True)
class Forecast:
    """Costs of all stages. price: of a worker for an hour. ``hours`` assumes that all workers are busy all the time."""

    costs: list[Cost]
    workers: int
    price: float

    @property
    def worker_hours(self) -> float:
        """Hours of one worker."""
        return sum(cost.seconds for cost in self.costs) / 3600

    @property
    def hours(self) -> float:
        """Wall-clock hours."""
        return self.worker_hours / self.workers

    @property
    def money(self) -> float:
        """Cost at the given price."""
        return self.worker_hours * self.price

    def as_json(self) -> ForecastJson:
        """The object of ``plan --json``."""
        return {
            "stages": [asdict(cost) for cost in self.costs],
            "workers": self.workers,
            "worker_hours": round(self.worker_hours, 3),
            "hours": round(self.hours, 3),
            "bytes": sum(cost.bytes for cost in self.costs),
            "files": sum(cost.shards * FILES_A_SHARD for cost in self.costs),
            "price_per_worker_hour": self.price,
            "money": round(self.money, 2),
        }


def reference_rates(long_side: int) -> dict[str, tuple[float, float]]:
    """Seconds and bytes a sample by verb for canvases of another size: painting and images grow with the area."""
    share = (long_side / REFERENCE_SIDE) ** 2
    painting, written = REFERENCE["outpaint"]
    build, copied = REFERENCE["build"]
    return {**REFERENCE, "outpaint": (painting * share, written * share), "build": (build, copied * share)}


def rates_of(receipts: Sequence[Receipt]) -> tuple[float, float] | None:
    """Seconds and bytes a sample from receipts, or None when they hold no samples."""
    samples = sum(receipt.n_in for receipt in receipts)
    if not samples:
        return None
    seconds = sum(sum(receipt.seconds.values()) for receipt in receipts)
    written = sum(about["size"] for receipt in receipts for about in receipt.outputs.values())
    return seconds / samples, written / samples


def samples_of(stage: str, size: Size) -> int:
    """How many samples come into a stage."""
    kept = math.ceil(size.canvases * size.kept)
    by_root = {
        "ingest": size.photos,
        PERCEIVED_PHOTOS: size.photos,
        "dedup": size.photos,
        "caption": size.photos,
        "build": kept,
        "embed": size.photos + kept,
        "retrieve": kept,
    }
    return by_root.get(stage, by_root.get(verb_of(stage), size.canvases))


def forecast(
    stages: Mapping[str, int],
    measured: Mapping[str, tuple[float, float] | None],
    size: Size,
    *,
    workers: int,
    price: float,
    long_side: int = REFERENCE_SIDE,
) -> Forecast:
    """Costs of ``stages`` (name -> shards); ``measured`` rates by name replace the reference where there are some.

    long_side: of the canvases, for the reference.
    """
    reference = reference_rates(long_side)
    costs = []
    for name, shards in stages.items():
        own = measured.get(name)
        seconds, written = own or reference.get(verb_of(name), UNKNOWN)
        samples = samples_of(name, size)
        costs.append(
            Cost(name, samples, shards, round(samples * seconds, 3), round(samples * written), own is not None)
        )
    return Forecast(costs, workers, price)
