"""What ``plan`` tells of workers and GPUs: by the clock, what it assumes, what a run of this size passes, and simulated fleets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core.stage import Stage
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
    "captioner": ("caption",), "outpainter": ("outpaint",), "segmenter": ("propose",), "scorer": ("refine",),
    "encoder": ("dedup", "embed"),
}  # fmt: skip
SPREAD = 0.3  # of the logarithm of a shard's seconds, where no receipts tell it


@dataclass(frozen=True)
class Asked:
    """What a plan is asked about: a recipe, its stages, the run directory if there is one, and rates given by hand."""

    recipe: "Recipe"
    stages: list[Stage]
    store: Store
    known: Plan | None
    rates: Mapping[str, float]

    @property
    def run(self) -> Run | None:
        """The run directory."""
        return Run(self.store, self.known) if self.known else None

    @property
    def on_gpu(self) -> set[str]:
        """Stages whose model the recipe puts on a GPU, or whose rate on one was given."""
        roots = {root for role in self.recipe.models.gpu_roles for root in USES.get(role, ())}
        return {stage.name for stage in self.stages if stage.name.split("/")[0] in roots} | set(self.rates)


def scaled(
    asked: Asked, found: Forecast, told: Mapping[str, int], means: Fleet
) -> tuple[WallClockForecast, list[str], list[Limit]]:
    """The forecast by the clock, what it assumes, and the limits that it passes."""
    single = single_steps(told["photos"], _own_steps(asked))
    a_shard = (max(1, told["kept"] // told["shards"]), _final_bytes(found) // told["shards"])
    by_clock = wall_clock_forecast(found, means, asked.on_gpu, single)
    return by_clock, _assumed(asked, found, means), limits(found, means, told["photos"], a_shard)


def _own_steps(asked: Asked) -> dict[str, tuple[float, int]]:
    """Seconds of the steps that this run has done once, and at how many photographs."""
    run, found = asked.run, dict[str, tuple[float, int]]()
    photos = sum(receipt.n_in for receipt in run.receipts("ingest")) if run else 0
    for stage in asked.stages if run and photos else []:
        for step in ("prologue", "epilogue"):
            receipt = run.receipt_at(step_receipt_path(stage.name, step)) if run else None
            if receipt is not None:
                found[f"{stage.name}: {step}"] = sum(receipt.seconds.values()), photos
    return found


def _final_bytes(found: Forecast) -> int:
    return sum(cost.bytes for cost in found.costs if cost.stage == "build")


def _assumed(asked: Asked, found: Forecast, means: Fleet) -> list[str]:
    """What stands in the place of a measurement."""
    told = []
    for cost in found.costs if means.gpus else []:
        if cost.stage in asked.on_gpu and not cost.measured:
            seconds = REFERENCE[cost.stage.split("/")[0]][0]
            told.append(
                f"no rate of {cost.stage} on a GPU is known: counted at {seconds} s a sample, the embedded model on one processor "
                f"thread; give --rate {cost.stage.split('/')[0]}=SAMPLES_A_SECOND"
            )
    if means.gpus and not asked.on_gpu:
        told.append(
            "no model of this recipe uses a GPU, so workers do all stages; a stage with a --rate is done by GPUs"
        )
    if not any(cost.measured for cost in found.costs):
        told.append(
            "no receipts: seconds and bytes a sample are those of the default recipe on a processor (docs/scale.md)"
        )
    return told


def steps_of(asked: Asked, found: Forecast, means: Fleet) -> list[SimulatedStage]:
    """The stages for a simulation; shards spread as this run's receipts do."""
    run, by_name = asked.run, {stage.name: stage for stage in asked.stages}
    photos = max(cost.samples for cost in found.costs if cost.stage == "ingest")
    single = single_steps(photos, _own_steps(asked))
    steps = [SimulatedStage("sources", 1, 0.0, before=single.pop("sources", 0.0))]
    for cost in found.costs:
        stage = by_name[cost.stage]
        seconds = [sum(receipt.seconds.values()) for receipt in run.receipts(cost.stage)] if run else []
        a_sample = cost.seconds / max(1, cost.samples)
        steps.append(
            SimulatedStage(
                cost.stage,
                cost.shards,
                cost.seconds / cost.shards,
                sigma=spread_of(seconds) or SPREAD,
                before=sum(value for name, value in single.items() if name.split(":")[0] == cost.stage),
                batch=stage.micro_batch * a_sample if stage.extensions else 0.0,
                on=kind_of(cost.stage, means, asked.on_gpu),
            )
        )
    return steps


def simulated(asked: Asked, found: Forecast, means: Fleet, told: Mapping[str, float]) -> list[dict[str, Any]]:
    """Runs of the plan on fleets of 1 to 1,000 workers of each kind, and on the one that was asked for."""
    steps, fleets = steps_of(asked, found, means), []
    for count in sorted({*SIZES, max(means.workers, means.gpus)}):
        result = simulate(
            steps, SimulatedFleet(count, start=told["start"], lost=told["lost"], away=told["away"]), asked.recipe.seed
        )
        fleets.append(
            {
                "workers": count,
                "hours": round(result.hours, 3),
                "efficiency": round(result.work / (result.seconds * count), 4),
                "losses": result.losses,
                "redone_hours": round(result.redone / 3600, 3),
                "idle_hours": round(result.idle / 3600, 3),
                "slowest": max(result.by_step, key=lambda name: result.by_step[name]),
            }
        )
    return fleets
