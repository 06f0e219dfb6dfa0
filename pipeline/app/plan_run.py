"""``plan``: what a run would do and cost. It reads, lists and multiplies, and writes nothing to the run directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.app.plans.photo_count import given_photos, listed_photos
from pipeline.app.plans.run_forecast import forecast_run
from pipeline.app.recipe_for_run import recipe_for
from pipeline.app.worker_count import worker_count
from pipeline.core.errors import ModelError, UsageError

if TYPE_CHECKING:
    from pipeline.app.plans.before_work import Foreseen
    from pipeline.app.plans.plan_fleet import FleetSimulation, PlannedRun, PlannedSize
    from pipeline.app.progress import Display
    from pipeline.core.stage import Stage
    from pipeline.planning.cost_model import Forecast
    from pipeline.planning.wall_clock import Fleet, Limit, WallClockForecast
    from stages.publishing.licence_report import LicenceReport
    from stages.recipe import Recipe


# (factor, seconds of starts) of the least and the most time. Guesses are rates of another machine without other work.
GUESSED = ((0.7, 15.0), (4.0, 90.0))
MEASURED = ((0.8, 10.0), (1.5, 60.0))


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
        measure: make a few canvases of the photographs to measure this machine.
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
    measure: bool = False
    simulate: bool = False
    lost: float = 0.05
    away: float = 300.0
    start: float = 60.0


@dataclass(frozen=True)
class PlanReport:
    """The planned run with its size, costs and wall-clock times.

    Args:
        planned, size, forecast, fleet, clock, assumptions, limits: see their classes.
        models: digests by role.
        simulated: empty without simulation.
        findings: what would stop the run or surprise its user.
        seconds: least and most wall-clock seconds.
        currency: of all amounts.
        licences: of the listed photographs; None where only their number is given.
        guessed: whether no rate was measured, neither by this run nor by ``measure``.
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
    findings: "list[Foreseen]"
    seconds: tuple[float, float]
    guessed: bool
    currency: str
    licences: "LicenceReport | None" = None


def plan_run(request: PlanRequest, display: "Display") -> PlanReport:
    """Plan a run. Raises UsageError for a bad recipe, source or rate."""
    from pipeline.app.plans.before_work import Foreseen, findings_before
    from pipeline.app.plans.plan_fleet import Losses, PlannedRun, sensible_work_shards, simulate_fleets, wall_clock_of
    from pipeline.planning.wall_clock import Fleet
    from pipeline.runs.plan import load_plan
    from pipeline.storage.open_store import open_store
    from stages.publishing.licence_report import licence_report
    from stages.recipe import stages_of

    store = open_store(request.work)
    plan = load_plan(store)
    drawn = ("outpaint.variants", "outpaint.held_out_variants") if request.variants else ()
    overrides = [*request.overrides, *(f"{name}={request.variants}" for name in drawn)]
    recipe = recipe_for(request.config, overrides, plan)
    workers = worker_count(request.workers) if request.workers or not request.gpus else request.gpus
    fleet = Fleet(workers, request.gpus, request.price, request.gpu_price)
    photos = given_photos(recipe, request.photos) if request.photos else listed_photos(recipe)
    own_shards = recipe.work_shards
    if plan is None and not any(text.startswith("work_shards=") for text in overrides):
        recipe = recipe.model_copy(update={"work_shards": sensible_work_shards(recipe, photos.total, fleet)})
    stages = stages_of(recipe)
    planned = PlannedRun(recipe, stages, store, plan, _rates(request.rate, stages), _sample(request, recipe, display))
    forecast, size = forecast_run(planned, photos, fleet)
    clock, assumptions, limits = wall_clock_of(planned, forecast, size, fleet)
    simulated = []
    if request.simulate:
        with display.counting("simulated fleets") as tick:
            losses = Losses(request.lost, request.away, request.start)
            simulated = simulate_fleets(planned, forecast, fleet, losses, tick)
    models = {role: digest for stage in stages for role, digest in _digests(stage).items()}
    findings = findings_before(planned, stages, photos, forecast)
    if planned.recipe.work_shards != own_shards:
        findings.append(
            Foreseen(f"counted with work_shards={recipe.work_shards}, not the recipe's {own_shards}: give it to 'run'")
        )
    measured = sum(cost.seconds for cost in forecast.costs if cost.measured) / 3600
    guessed = measured < 0.5 * forecast.worker_hours
    least, most = GUESSED if guessed else MEASURED
    seconds = (least[0] * clock.hours * 3600 + least[1], most[0] * clock.hours * 3600 + most[1])
    return PlanReport(
        planned,
        size,
        models,
        forecast,
        fleet,
        clock,
        assumptions,
        limits,
        simulated,
        findings,
        seconds,
        guessed,
        request.currency,
        licence_report(photos.licences) if photos.licences else None,
    )


def _sample(request: PlanRequest, recipe: "Recipe", display: "Display") -> dict[str, tuple[float, float]]:
    if not request.measure:
        return {}
    from pipeline.app.measured_sample import measure_rates

    display.message("--measure: making a few canvases of the first photographs, which takes a minute or more")
    return measure_rates(recipe, display)


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
