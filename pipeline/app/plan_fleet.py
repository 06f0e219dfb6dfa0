"""``plan`` for workers and GPUs: wall-clock time, its assumptions, the limits that a run passes, and simulated fleets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline.core.stage import Stage, verb_of
from pipeline.planning.cluster_simulation import SimulatedFleet, SimulatedStage, simulate, spread_of
from pipeline.planning.cost_model import REFERENCE, Forecast
from pipeline.planning.wall_clock import (
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
    """

    recipe: "Recipe"
    stages: list[Stage]
    store: Store
    plan: Plan | None
    rates: Mapping[str, float]

    @property
    def run(self) -> Run | None:
        """The run directory, if it exists."""
        return Run(self.store, self.plan) if self.plan else None

    @property
    def on_gpu(self) -> set[str]:
        """Stages whose model the recipe puts on a GPU, and stages with a given rate."""
        verbs = {verb for role in self.recipe.models.gpu_roles for verb in USES.get(role, ())}
        return {stage.name for stage in self.stages if stage.verb in verbs} | set(self.rates)


@dataclass(frozen=True)
class PlannedSize:
    """Number of photographs, painted canvases, kept canvases and final shards."""

    photos: int
    canvases: int
    kept: int
    shards: int


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
            "no receipts: seconds and bytes a sample are those of the default recipe on a processor (docs/scale.md)"
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


def simulate_fleets(
    planned: PlannedRun, forecast: Forecast, fleet: Fleet, *, lost: float, away: float, start: float
) -> list[FleetSimulation]:
    """Simulated runs on 1 to 1,000 workers of each kind, and on the number of workers at hand.

    Args:
        planned, forecast, fleet: what is simulated.
        lost: times per hour that a worker is pre-empted or fails.
        away: seconds until a lost worker begins to start again.
        start: seconds until a started worker has loaded its models.
    """
    steps = _simulation_steps(planned, forecast, fleet)
    counts: Sequence[int] = sorted({*SIZES, max(fleet.workers, fleet.gpus)})
    simulations = []
    for count in counts:
        result = simulate(steps, SimulatedFleet(count, start=start, lost=lost, away=away), planned.recipe.seed)
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
