"""``plan``: what a run would do and take. It reads, lists and multiplies; it writes nothing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.recipe_for_run import read_recipe
from pipeline.app.worker_count import worker_count
from pipeline.cli.options import Config, Json, Overrides, Work, Workers, print_json
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.cli.plan_fleet import Asked
    from pipeline.core.stage import Stage
    from pipeline.planning.cost_model import Forecast
    from pipeline.planning.wall_clock import Fleet, WallClockForecast
    from stages.recipe import Recipe

Photos = Annotated[int, typer.Option(help="Number of photographs; 0: as many as the source lists.", min=0)]
Variants = Annotated[int, typer.Option(help="Canvases a photograph; 0: the recipe's.", min=0)]
Price = Annotated[float, typer.Option(help="Price of one worker for an hour.", min=0)]
Gpus = Annotated[int, typer.Option(help="GPUs, one worker each, for the stages whose models use one.", min=0)]
GpuPrice = Annotated[float, typer.Option(help="Price of one GPU with its worker for an hour.", min=0)]
Rate = Annotated[
    list[str] | None, typer.Option(help="STAGE=SAMPLES_A_SECOND of one GPU; without, receipts or the reference rate.")
]
Simulate = Annotated[bool, typer.Option("--simulate", help="Simulate the run on 1 to 1,000 workers, losses included.")]
Lost = Annotated[float, typer.Option(help="Simulated: times an hour that a worker is pre-empted or fails.", min=0)]
Away = Annotated[float, typer.Option(help="Simulated: seconds until a lost worker begins to start again.", min=0)]
Start = Annotated[float, typer.Option(help="Simulated: seconds until a started worker has its models.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("plan")(plan)


def plan(
    overrides: Overrides = None, config: Config = "", work: Work = "work", photos: Photos = 0, variants: Variants = 0,
    workers: Workers = 0, price: Price = 0.0, gpus: Gpus = 0, gpu_price: GpuPrice = 0.0, rate: Rate = None,
    simulate: Simulate = False, lost: Lost = 0.05, away: Away = 300.0, start: Start = 60.0, json: Json = False,
) -> None:  # fmt: skip
    """Say what a run would do: photographs, canvases, shards, models; hours, bytes, requests and money by measured rates."""
    from pipeline.cli.plan_fleet import Asked, scaled, simulated
    from pipeline.planning.wall_clock import Fleet
    from pipeline.runs.plan import load_plan
    from pipeline.storage.open_store import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    known = load_plan(store)
    drawn = [f"outpaint.variants={variants}", f"outpaint.held_out_variants={variants}"] if variants else []
    recipe = read_recipe(config, [*(overrides or []), *drawn], known)
    stages = stages_of(recipe)
    asked = Asked(recipe, stages, store, known, _rates(rate or [], stages))
    means = Fleet(worker_count(workers) if workers or not gpus else gpus, gpus, price, gpu_price)
    found, told = _forecast(asked, photos=photos, means=means)
    by_clock, assumed, passed = scaled(asked, found, told, means)
    fleets = simulated(asked, found, means, {"lost": lost, "away": away, "start": start}) if simulate else []
    models = {role: digest for stage in stages for role, digest in _digests(stage).items()}
    if json:
        print_json(
            {
                "name": recipe.name, **told, "models": models, **found.as_json(), **by_clock.as_json(), "gpus": gpus,
                "assumed": assumed, "limits": [vars(limit) for limit in passed], "simulated": fleets,
            }
        )  # fmt: skip
        return
    _print(recipe.name, told, models, found, asked.rates)
    _print_scale(by_clock, means, assumed, [f"{limit.what}: {limit.change}" for limit in passed], fleets)


def _rates(given: list[str], stages: "list[Stage]") -> dict[str, float]:
    """Samples a second by stage, a root standing for all of its rounds. Raises UsageError."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        named = [stage.name for stage in stages if name in (stage.name, stage.name.split("/")[0])]
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not named or value <= 0:
            known = ", ".join(dict.fromkeys(stage.name.split("/")[0] for stage in stages))
            raise UsageError(f"--rate '{text}': want STAGE=SAMPLES_A_SECOND with a stage among {known}")
        found |= dict.fromkeys(named, value)
    return found


def _digests(stage: "Stage") -> dict[str, str]:
    """Models by role; what they would take can be told before their weights are here."""
    from pipeline.core.errors import ModelError

    try:
        return stage.models()
    except ModelError:
        return {f"of {stage.name}": "not on this machine yet (see 'procrop-data doctor')"}


def _forecast(asked: "Asked", *, photos: int, means: "Fleet") -> "tuple[Forecast, dict[str, Any]]":
    from pipeline.planning.cost_model import REFERENCE, REFERENCE_KEPT, Size, forecast, rates_of
    from stages.photos.source_readers import list_inputs

    recipe, run = asked.recipe, asked.run
    listed = list(list_inputs(recipe.ingest.source)) if not photos else []
    count = photos or min(len(listed), recipe.ingest.limit or len(listed))
    held_out = _held_out_share(recipe, [item.credits.get("split", "") for item in listed])
    each = recipe.outpaint.variants * (1 - held_out) + recipe.outpaint.held_out_variants * held_out
    measured = {stage.name: rates_of(run.receipts(stage.name)) if run else None for stage in asked.stages}
    for name, rate in asked.rates.items():
        measured[name] = (1 / rate, (measured[name] or REFERENCE[name.split("/")[0]])[1])
    painted, kept = (run.receipts("outpaint"), run.receipts("filter")) if run else ([], [])
    share = sum(r.n_kept for r in kept) / max(1, sum(r.n_in for r in painted)) if kept else REFERENCE_KEPT
    size = Size(count, round(count * each), share)
    shards = {stage.name: stage.shards(recipe.work_shards) for stage in asked.stages}
    told = {
        "photos": count,
        "canvases": size.canvases,
        "kept": round(size.canvases * share),
        "shards": recipe.build.shards,
    }
    return forecast(shards, measured, size, workers=means.workers, price=means.price), told


def _held_out_share(recipe: "Recipe", splits: list[str]) -> float:
    """Share of photographs outside the train split: as the credits say, else by the recipe's shares."""
    shares = recipe.ingest.splits
    by_hash = 1 - shares.get("train", 0.0) / sum(shares.values())
    known = [split for split in splits if split]
    if not splits:
        return by_hash
    return (sum(split != "train" for split in known) + by_hash * (len(splits) - len(known))) / len(splits)


def _print(
    name: str, told: dict[str, Any], models: dict[str, str], found: "Forecast", given: "Mapping[str, float]"
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{name}: {told['photos']} photographs, {told['canvases']} canvases, about {told['kept']} kept in {told['shards']} shards",
        soft_wrap=True,
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "samples", "shards", "worker hours", "bytes", "rate from"):
        table.add_column(column, justify="left" if column in ("stage", "rate from") else "right")
    for cost in found.costs:
        source = "--rate" if cost.stage in given else "this run" if cost.measured else "reference"
        cells = (f"{cost.samples:,}", f"{cost.shards:,}", f"{cost.seconds / 3600:.3f}", f"{cost.bytes:,}", source)
        table.add_row(cost.stage, *cells)
    console.print(table)
    total = found.as_json()
    console.print(
        f"{found.worker_hours:.2f} worker hours, {found.hours:.2f} h on {found.workers} workers, {total['bytes']:,} bytes in "
        f"{total['files']:,} files" + (f", {found.money:.2f} at {found.price} an hour" if found.price else ""),
        soft_wrap=True,
    )
    console.print("models: " + ", ".join(f"{role} {digest}" for role, digest in sorted(models.items())), soft_wrap=True)


def _print_scale(
    scale: "WallClockForecast", means: "Fleet", assumed: list[str], passed: list[str], fleets: list[dict[str, Any]]
) -> None:
    slow = scale.slowest
    print(
        f"by the clock {scale.hours:.2f} h, stage after stage on {means.workers} workers"
        + (
            f" and {means.gpus} GPUs ({scale.gpu_hours:,.1f} GPU hours, {scale.worker_hours:,.1f} others)"
            if means.gpus
            else ""
        )
        + (f", {scale.money:,.2f} in all" if means.price or means.gpu_price else "")
        + f"; about {scale.requests:,} requests to the store"
    )
    print(
        f"first bottleneck: {slow.what}, {slow.hours:.2f} h on {slow.busy} x {slow.on} ({slow.hours / scale.hours:.0%})"
    )
    for text in assumed:
        print(f"assumed: {text}")
    for text in passed:
        print(f"limit: {text}")
    for fleet in fleets:
        print(
            f"simulated on {fleet['workers']:>5} workers: {fleet['hours']:.2f} h, {fleet['efficiency']:.1%} of their time is work "
            f"that stays; {fleet['losses']} losses redid {fleet['redone_hours']:.2f} h"
        )
