"""The costs of a planned run by stage, from what was measured where something was."""

from pipeline.app.plans.photo_count import PhotoCount
from pipeline.app.plans.plan_fleet import PlannedRun, PlannedSize
from pipeline.core.stage import verb_of
from pipeline.planning.cost_model import REFERENCE, REFERENCE_KEPT, UNKNOWN, Forecast, Size, forecast, rates_of
from pipeline.planning.wall_clock import Fleet


def forecast_run(planned: PlannedRun, photos: PhotoCount, fleet: Fleet) -> tuple[Forecast, PlannedSize]:
    """Costs by stage, from the receipts of the run where it has some, and the size of the run."""
    recipe, run = planned.recipe, planned.run
    train = photos.total - photos.held_out
    canvases = train * recipe.outpaint.variants + photos.held_out * recipe.outpaint.held_out_variants
    rates = {stage.name: rates_of(run.receipts(stage.name)) if run else None for stage in planned.stages}
    rates = {name: own or planned.sample.get(name) for name, own in rates.items()}
    for name, samples_a_second in planned.rates.items():
        rates[name] = (1 / samples_a_second, (rates[name] or REFERENCE.get(verb_of(name), UNKNOWN))[1])
    painted, kept = (run.receipts("outpaint"), run.receipts("filter")) if run else ([], [])
    share = sum(r.n_kept for r in kept) / max(1, sum(r.n_in for r in painted)) if kept else REFERENCE_KEPT
    size = Size(photos.total, canvases, share)
    shards = {stage.name: stage.shards(recipe.work_shards) for stage in planned.stages}
    costs = forecast(shards, rates, size, workers=fleet.workers, price=fleet.price, long_side=recipe.outpaint.long_side)
    samples = round(canvases * share)
    final = recipe.build.shards if recipe.build.exact else min(recipe.build.shards, max(samples, 1))
    return costs, PlannedSize(photos.total, photos.held_out, canvases, samples, final, recipe.work_shards)
