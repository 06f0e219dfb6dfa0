"""``plan``: what a run would do and cost. It reads, lists and multiplies; it writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.app.recipe_for_run import recipe_for
from pipeline.app.worker_count import worker_count
from pipeline.core.errors import ModelError, UsageError
from pipeline.core.stage import verb_of

if TYPE_CHECKING:
    from pipeline.app.plan_fleet import FleetSimulation, PlannedRun, PlannedSize
    from pipeline.core.stage import Stage
    from pipeline.planning.cost_model import Forecast
    from pipeline.planning.wall_clock import Fleet, Limit, WallClockForecast
    from stages.recipe import Recipe


@dataclass(frozen=True)
class PlanRequest:
    """A run to plan, and the workers to plan it for.

    Args:
        config: recipe by name or file; empty: the recipe of the run directory, or the default one.
        work: run directory, whose receipts give measured rates; it need not exist.
        overrides: ``key=value`` changes of the recipe.
        photos: number of photographs; 0: as many as the source lists.
        variants: canvases per photograph; 0: the recipe's.
        workers: worker processes; 0: as many as GPUs if there are any, else one per processor core.
        price: of one worker per hour.
        currency: of the prices, as it is printed.
        gpus: GPUs, with one worker each, for the stages whose models use one.
        gpu_price: of one GPU with its worker per hour.
        rate: ``STAGE=SAMPLES_A_SECOND`` of one GPU.
        simulate: simulate the run on 1 to 1,000 workers.
        lost: simulated times per hour that a worker is pre-empted or fails.
        away: simulated seconds until a lost worker begins to start again.
        start: simulated seconds until a started worker has loaded its models.
    """

    config: str = ""
    work: str = "work"
    overrides: Sequence[str] = ()
    photos: int = 0
    variants: int = 0
    workers: int = 0
    price: float = 0.0
    currency: str = "USD"
    gpus: int = 0
    gpu_price: float = 0.0
    rate: Sequence[str] = ()
    simulate: bool = False
    lost: float = 0.05
    away: float = 300.0
    start: float = 60.0


@dataclass(frozen=True)
class PlanReport:
    """The planned run with its size, costs and wall-clock times.

    models: digests by role. simulated: empty without simulation. currency: of all amounts.
    """

    planned: "PlannedRun"
    size: "PlannedSize"
    models: dict[str, str]
    forecast: "Forecast"
    fleet: "Fleet"
    clock: "WallClockForecast"
    assumptions: list[str]
    limits: "list[Limit]"
    simulated: "list[FleetSimulation]"
    currency: str


def plan_run(request: PlanRequest) -> PlanReport:
    """Plan a run. Raises UsageError for a bad recipe, source or rate."""
    from pipeline.app.plan_fleet import PlannedRun, simulate_fleets, wall_clock_of
    from pipeline.planning.wall_clock import Fleet
    from pipeline.runs.plan import load_plan
    from pipeline.storage.open_store import open_store
    from stages.recipe import stages_of

    store = open_store(request.work)
    plan = load_plan(store)
    drawn = ("outpaint.variants", "outpaint.held_out_variants") if request.variants else ()
    overrides = [*request.overrides, *(f"{name}={request.variants}" for name in drawn)]
    recipe = recipe_for(request.config, overrides, plan)
    stages = stages_of(recipe)
    planned = PlannedRun(recipe, stages, store, plan, _rates(request.rate, stages))
    workers = worker_count(request.workers) if request.workers or not request.gpus else request.gpus
    fleet = Fleet(workers, request.gpus, request.price, request.gpu_price)
    forecast, size = _forecast(planned, photos=request.photos, fleet=fleet)
    clock, assumptions, limits = wall_clock_of(planned, forecast, size, fleet)
    simulated = (
        simulate_fleets(planned, forecast, fleet, lost=request.lost, away=request.away, start=request.start)
        if request.simulate
        else []
    )
    models = {role: digest for stage in stages for role, digest in _digests(stage).items()}
    return PlanReport(planned, size, models, forecast, fleet, clock, assumptions, limits, simulated, request.currency)


def _rates(given: Sequence[str], stages: "Sequence[Stage]") -> dict[str, float]:
    """Samples per second by stage; a verb stands for all its rounds. Raises UsageError."""
    rates: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        named = [stage.name for stage in stages if name in (stage.name, stage.verb)]
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not named or value <= 0:
            known = ", ".join(dict.fromkeys(stage.verb for stage in stages))
            raise UsageError(f"--rate '{text}': want STAGE=SAMPLES_A_SECOND with a stage among {known}")
        rates |= dict.fromkeys(named, value)
    return rates


def _digests(stage: "Stage") -> dict[str, str]:
    """Digests of a stage's models by role; a run can be planned before their weights are on this machine."""
    try:
        return stage.digests()
    except ModelError:
        return {f"of {stage.name}": "not on this machine yet (see 'procrop-data doctor')"}


def _forecast(planned: "PlannedRun", *, photos: int, fleet: "Fleet") -> "tuple[Forecast, PlannedSize]":
    from pipeline.app.plan_fleet import PlannedSize
    from pipeline.planning.cost_model import REFERENCE, REFERENCE_KEPT, UNKNOWN, Size, forecast, rates_of
    from stages.photos.source_readers import list_inputs

    recipe, run = planned.recipe, planned.run
    listed = list(list_inputs(recipe.ingest.source, recipe.ingest.lists)) if not photos else []
    count = photos or min(len(listed), recipe.ingest.limit or len(listed))
    held_out = _held_out_share(recipe, [item.credits.get("split", "") for item in listed])
    variants = recipe.outpaint.variants * (1 - held_out) + recipe.outpaint.held_out_variants * held_out
    rates = {stage.name: rates_of(run.receipts(stage.name)) if run else None for stage in planned.stages}
    for name, samples_a_second in planned.rates.items():
        rates[name] = (1 / samples_a_second, (rates[name] or REFERENCE.get(verb_of(name), UNKNOWN))[1])
    painted, kept = (run.receipts("outpaint"), run.receipts("filter")) if run else ([], [])
    share = sum(r.n_kept for r in kept) / max(1, sum(r.n_in for r in painted)) if kept else REFERENCE_KEPT
    size = Size(count, round(count * variants), share)
    shards = {stage.name: stage.shards(recipe.work_shards) for stage in planned.stages}
    costs = forecast(shards, rates, size, workers=fleet.workers, price=fleet.price)
    return costs, PlannedSize(count, size.canvases, round(size.canvases * share), recipe.build.shards)


def _held_out_share(recipe: "Recipe", splits: Sequence[str]) -> float:
    """Share of photographs outside the train split. splits: from the credits; empty where the recipe's shares decide."""
    shares = recipe.ingest.splits
    by_hash = 1 - shares.get("train", 0.0) / sum(shares.values())
    known = [split for split in splits if split]
    if not splits:
        return by_hash
    return (sum(split != "train" for split in known) + by_hash * (len(splits) - len(known))) / len(splits)
