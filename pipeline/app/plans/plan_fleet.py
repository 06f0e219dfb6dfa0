"""``plan`` for workers and GPUs: wall-clock time, its assumptions, the limits that a run passes, and simulated fleets."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pipeline.core.errors import UsageError
from pipeline.core.stage import Stage, verb_of
from pipeline.planning.cluster_simulation import SimulatedFleet, SimulatedStage, simulate, spread_of
from pipeline.planning.cost_model import REFERENCE, Forecast
from pipeline.planning.wall_clock import (
    PHOTOS_A_SHARD,
    Fleet,
    Limit,
    WallClockForecast,
    kind_of,
    limits,
    single_steps,
    wall_clock_forecast,
)
from pipeline.runs.plan import Plan
from pipeline.runs.run_directory import Run, step_receipt_path
from pipeline.storage.base import Store

if TYPE_CHECKING:
    from stages.recipe import Recipe

SIZES = (1, 10, 100, 1000)
USES = {
    "captioner": ("caption",), "outpainter": ("outpaint",), "segmenter": ("perceive",), "scorer": ("refine",),
    "encoder": ("perceive",), "faces": ("perceive",),
}  # fmt: skip
MOST_SHARDS = 100_000
MOST_REDONE = 3.0  # a shard that is lost so often on average before it is done is never done: e^3 attempts and more
MOST_STEPS = 1_500_000  # shards that are simulated, over all stages and fleets: about 7 s
SPREAD = 0.3  # standard deviation of the logarithm of the seconds of a shard, if no receipts give it


@dataclass(frozen=True)
class PlannedRun:
    """A run that is planned.

    Args:
        recipe: its recipe.
        stages: of the recipe, in order.
        store: of the run directory.
        plan: stored in the run directory; None for a new one.
        rates: samples per second of one GPU by stage, given by the user.
        sample: seconds and bytes a sample by stage, of a few canvases that were made to measure them.
    """

    recipe: "Recipe"
    stages: list[Stage]
    store: Store
    plan: Plan | None
    rates: Mapping[str, float] = field(default_factory=dict)
    sample: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def run(self) -> Run | None:
        """The run directory, if it exists."""
        return Run(self.store, self.plan) if self.plan else None

    @property
    def started(self) -> bool:
        """Whether the run has listed its photographs, and its number of work shards is frozen."""
        return self.plan is not None and self.plan.sources > 0

    @property
    def on_gpu(self) -> set[str]:
        """Stages whose model the recipe puts on a GPU, and stages with a given rate."""
        verbs = {verb for role in self.recipe.models.gpu_roles for verb in USES.get(role, ())}
        return {stage.name for stage in self.stages if stage.verb in verbs} | set(self.rates)


@dataclass(frozen=True)
class PlannedSize:
    """Number of photographs, of those that are held out, of painted and kept canvases, of final shards and of work shards."""

    photos: int
    held_out: int
    canvases: int
    kept: int
    shards: int
    work_shards: int


@dataclass(frozen=True)
class FleetSimulation:
    """One simulated run.

    Args:
        workers: of each kind.
        hours: wall-clock time.
        efficiency: share of the workers' time that went into work that was kept.
        losses: how often a worker was pre-empted or failed.
        redone_hours: work that was lost and done again.
        idle_hours: time of workers without a shard while others still worked.
        slowest: the stage that took longest.
    """

    workers: int
    hours: float
    efficiency: float
    losses: int
    redone_hours: float
    idle_hours: float
    slowest: str

    def as_json(self) -> dict[str, int | float | str]:
        """An entry of ``simulated`` in ``plan --json``."""
        return asdict(self)


def sensible_work_shards(recipe: "Recipe", photos: int, fleet: Fleet) -> int:
    """Work shards for a new run: the recipe's, or more where a shard would be too long, or too few for the workers."""
    busy = min(4 * max(fleet.workers, fleet.gpus), photos // 8)
    return min(max(recipe.work_shards, math.ceil(photos / PHOTOS_A_SHARD), busy), MOST_SHARDS)


def wall_clock_of(
    planned: PlannedRun, forecast: Forecast, size: PlannedSize, fleet: Fleet
) -> tuple[WallClockForecast, list[str], list[Limit]]:
    """The wall-clock times of a forecast, what they assume, and the limits that a run of this size passes."""
    single = single_steps(size.photos, _measured_steps(planned))
    final_bytes = sum(cost.bytes for cost in forecast.costs if cost.stage == "build")
    final_shard = (max(1, size.kept // size.shards), final_bytes // size.shards)
    clock = wall_clock_forecast(forecast, fleet, planned.on_gpu, single)
    return clock, _assumptions(planned, forecast, fleet), limits(forecast, fleet, size.photos, final_shard)


def _measured_steps(planned: PlannedRun) -> dict[str, tuple[float, int]]:
    """(seconds, number of photographs) of each run-level step that this run has done."""
    run = planned.run
    steps: dict[str, tuple[float, int]] = {}
    photos = sum(receipt.n_in for receipt in run.receipts("ingest")) if run else 0
    for stage in planned.stages if run and photos else []:
        for step in ("prologue", "epilogue"):
            receipt = run.receipt_at(step_receipt_path(stage.name, step)) if run else None
            if receipt is not None:
                steps[f"{stage.name}: {step}"] = sum(receipt.seconds.values()), photos
    return steps


def _assumptions(planned: PlannedRun, forecast: Forecast, fleet: Fleet) -> list[str]:
    """One sentence for each figure that is assumed because nothing measured it."""
    lines = []
    for cost in forecast.costs if fleet.gpus else []:
        if cost.stage in planned.on_gpu and not cost.measured:
            verb = verb_of(cost.stage)
            lines.append(
                f"no rate of {cost.stage} on a GPU is known: counted at {REFERENCE[verb][0]} s a sample, the embedded model on "
                f"one processor thread; give --rate {verb}=SAMPLES_A_SECOND"
            )
    if fleet.gpus and not planned.on_gpu:
        lines.append(
            "no model of this recipe uses a GPU, so workers do all stages; a stage with a --rate is done by GPUs"
        )
    if not any(cost.measured for cost in forecast.costs):
        lines.append(
            "nothing was measured here: seconds and bytes a sample are those of the embedded models on two idle cores "
            "(docs/scale.md); --measure makes a few canvases to know"
        )
    return lines


def _simulation_steps(planned: PlannedRun, forecast: Forecast, fleet: Fleet) -> list[SimulatedStage]:
    """The stages as steps of a simulation; shards vary as this run's receipts do."""
    run, by_name = planned.run, {stage.name: stage for stage in planned.stages}
    photos = max(cost.samples for cost in forecast.costs if cost.stage == "ingest")
    single = single_steps(photos, _measured_steps(planned))
    steps = [SimulatedStage("sources", 1, 0.0, before=single.pop("sources", 0.0))]
    for cost in forecast.costs:
        stage = by_name[cost.stage]
        seconds = [sum(receipt.seconds.values()) for receipt in run.receipts(cost.stage)] if run else []
        sample_s = cost.seconds / max(1, cost.samples)
        steps.append(
            SimulatedStage(
                cost.stage,
                cost.shards,
                cost.seconds / cost.shards,
                sigma=spread_of(seconds) or SPREAD,
                before=sum(value for name, value in single.items() if name.split(":")[0] == cost.stage),
                batch=stage.micro_batch * sample_s if stage.extensions else 0.0,
                on=kind_of(cost.stage, fleet, planned.on_gpu),
            )
        )
    return steps


@dataclass(frozen=True)
class Losses:
    """Losses of workers in a simulation.

    Args:
        lost: times per hour that a worker is pre-empted or fails.
        away: seconds until a lost worker begins to start again.
        start: seconds until a started worker has loaded its models.
    """

    lost: float
    away: float
    start: float


def simulate_fleets(
    planned: PlannedRun, forecast: Forecast, fleet: Fleet, losses: Losses, tick: Callable[[], None]
) -> list[FleetSimulation]:
    """Simulated runs on 1 to 1,000 workers of each kind, and on the number of workers at hand. tick: called after each.

    With very many shards, fewer fleets are simulated. Raises UsageError when a shard takes so long that it would never be done.
    """
    steps = _simulation_steps(planned, forecast, fleet)
    require_an_end(steps, losses, planned.recipe.work_shards)
    own = max(fleet.workers, fleet.gpus)
    fleets = max(1, MOST_STEPS // sum(step.shards for step in steps))
    counts: Sequence[int] = sorted({own, *[size for size in SIZES[::-1] if size != own][: fleets - 1]})
    simulations = []
    for count in counts:
        simulated = SimulatedFleet(count, start=losses.start, lost=losses.lost, away=losses.away)
        result = simulate(steps, simulated, planned.recipe.seed)
        tick()
        simulations.append(
            FleetSimulation(
                workers=count,
                hours=round(result.hours, 3),
                efficiency=round(result.work / (result.seconds * count), 4),
                losses=result.losses,
                redone_hours=round(result.redone / 3600, 3),
                idle_hours=round(result.idle / 3600, 3),
                slowest=max(result.by_step, key=lambda name: result.by_step[name]),
            )
        )
    return simulations


def require_an_end(steps: Sequence[SimulatedStage], losses: Losses, work_shards: int) -> None:
    """Raise UsageError for a stage whose shards are lost faster than they are done; a journal keeps what was done of one."""
    for step in steps:
        hours = step.seconds / 3600
        if not step.batch and hours * losses.lost > MOST_REDONE:
            fewer = min(MOST_SHARDS, math.ceil(work_shards * hours * losses.lost * 4))
            raise UsageError(
                f"--simulate: a shard of {step.name} takes {hours:,.0f} h, and a worker is lost {losses.lost:g} times an hour, so "
                f"it would hardly ever be done: give work_shards={fewer}"
            )
