"""``plan``: what a run would do and take. It reads, lists and multiplies; it writes nothing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import Config, Json, Overrides, Work, Workers, print_json, read_recipe, worker_count

if TYPE_CHECKING:
    from pipeline.forecast import Forecast
    from pipeline.plan import Plan
    from pipeline.stage import Stage
    from pipeline.storage import Store
    from stages.recipe import Recipe

Photos = Annotated[int, typer.Option(help="Number of photographs; 0: as many as the source lists.", min=0)]
Variants = Annotated[int, typer.Option(help="Canvases a photograph; 0: the recipe's.", min=0)]
Price = Annotated[float, typer.Option(help="Price of one worker for an hour.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("plan")(plan)


def plan(
    overrides: Overrides = None, config: Config = "", work: Work = "work", photos: Photos = 0, variants: Variants = 0,
    workers: Workers = 0, price: Price = 0.0, json: Json = False,
) -> None:  # fmt: skip
    """Say what a run would do: photographs, canvases, shards, models; hours, bytes and money by measured rates."""
    from pipeline.plan import load
    from pipeline.storage import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    known = load(store)
    asked = [f"outpaint.variants={variants}", f"outpaint.held_out_variants={variants}"] if variants else []
    recipe = read_recipe(config, [*(overrides or []), *asked], known)
    stages = stages_of(recipe)
    found, told = _forecast(recipe, stages, store, known, photos=photos, workers=worker_count(workers), price=price)
    models = {role: digest for stage in stages for role, digest in _digests(stage).items()}
    if json:
        print_json({"name": recipe.name, **told, "models": models, **found.as_json()})
    else:
        _print(recipe.name, told, models, found)


def _digests(stage: "Stage") -> dict[str, str]:
    """Models by role; what they would take can be told before their weights are here."""
    from pipeline.errors import ModelError

    try:
        return stage.models()
    except ModelError:
        return {f"of {stage.name}": "not on this machine yet (see 'procrop-data doctor')"}


def _forecast(
    recipe: "Recipe",
    stages: "list[Stage]",
    store: "Store",
    known: "Plan | None",
    *,
    photos: int,
    workers: int,
    price: float,
) -> "tuple[Forecast, dict[str, Any]]":
    from pipeline.forecast import REFERENCE_KEPT, Size, forecast, rates_of
    from pipeline.run import Run
    from stages.sources import list_inputs

    listed = list(list_inputs(recipe.ingest.source)) if not photos else []
    count = photos or min(len(listed), recipe.ingest.limit or len(listed))
    held_out = _held_out_share(recipe, [item.credits.get("split", "") for item in listed])
    each = recipe.outpaint.variants * (1 - held_out) + recipe.outpaint.held_out_variants * held_out
    run = Run(store, known) if known else None
    measured = {stage.name: rates_of(run.receipts(stage.name)) if run else None for stage in stages}
    painted, kept = (run.receipts("outpaint"), run.receipts("filter")) if run else ([], [])
    share = sum(r.n_kept for r in kept) / max(1, sum(r.n_in for r in painted)) if kept else REFERENCE_KEPT
    size = Size(count, round(count * each), share)
    shards = {stage.name: stage.shards(recipe.work_shards) for stage in stages}
    told = {
        "photos": count,
        "canvases": size.canvases,
        "kept": round(size.canvases * share),
        "shards": recipe.build.shards,
    }
    return forecast(shards, measured, size, workers=workers, price=price), told


def _held_out_share(recipe: "Recipe", splits: list[str]) -> float:
    """Share of photographs outside the train split: as the credits say, else by the recipe's shares."""
    shares = recipe.ingest.splits
    by_hash = 1 - shares.get("train", 0.0) / sum(shares.values())
    known = [split for split in splits if split]
    if not splits:
        return by_hash
    return (sum(split != "train" for split in known) + by_hash * (len(splits) - len(known))) / len(splits)


def _print(name: str, told: dict[str, Any], models: dict[str, str], found: "Forecast") -> None:
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
        source = "this run" if cost.measured else "reference"
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
