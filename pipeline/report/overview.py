"""The head of the page, the recipe of the run, and the credits of every photograph shown."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.json_types import Json
from pipeline.core.records import Photo
from pipeline.report.reader import RunReader
from pipeline.report.section import Material, Section
from pipeline.runs.plan import Plan
from pipeline.runs.run_directory import receipt_path

SETTINGS = (
    ("photographs from", "ingest.source"),
    ("canvases a photograph", "outpaint.variants"),
    ("canvases a held-out photograph", "outpaint.held_out_variants"),
    ("long side of a canvas, pixels", "outpaint.long_side"),
    ("refinement rounds", "refine.rounds"),
    ("crops kept beside the photo's rectangle, at most", "filter.max_crops"),
    ("final shards", "build.shards"),
    ("references a canvas", "retrieve.k"),
)


@dataclass(frozen=True)
class Overview:
    """The head of the page.

    Args:
        name: of the dataset.
        recipe: its name.
        work: address of the run directory.
        begun: whether the run has a receipt.
        newest: when the last shard was done, as Unix time; 0 when unknown.
        tiles: the main counts, each ``number`` with ``words``.
        sampled_shards: work shards that distributions are drawn from; 0 for all.
        work_shards: number of work shards.
        splits: photographs by split, in the sampled shards.
        start: the command that starts the run.
    """

    name: str
    recipe: str
    work: str
    begun: bool
    newest: float
    tiles: list[dict[str, int | str]]
    sampled_shards: int
    work_shards: int
    splits: dict[str, int]
    start: str


def overview(material: Material) -> Overview:
    """Name, date and main counts of the run."""
    reader = material.reader
    by_stage = {status.stage: status for status in reader.funnel}
    tiles: list[dict[str, int | str]] = []
    for stage, words in (
        ("ingest", "photographs"),
        ("outpaint", "canvases painted"),
        ("filter", "canvases kept"),
    ):
        status = by_stage.get(stage)
        if status is not None and status.done:
            number = status.n_in if stage == "outpaint" else status.kept
            tiles.append({"number": number, "words": words})
    built = by_stage.get("build")
    if built is not None and built.done:
        tiles.append({"number": built.done, "words": "shards"})
    return Overview(
        name=_dataset_name(reader.run.plan),
        recipe=reader.run.plan.name,
        work=material.work,
        begun=any(status.done for status in reader.funnel),
        newest=newest_receipt(reader),
        tiles=tiles,
        sampled_shards=len(reader.shards) if reader.is_sampled else 0,
        work_shards=reader.run.plan.work_shards,
        splits=_splits(reader),
        start=material.command("run"),
    )


def _dataset_name(plan: Plan) -> str:
    return str(plan.config.get("build", {}).get("name") or plan.name)


def _splits(reader: RunReader) -> dict[str, int]:
    """Photographs by split, in the sampled shards."""
    counts = Counter(row.record.split for row in reader.rows("ingest", Photo) if row.record and row.record.split)
    return {name: counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))}


def newest_receipt(reader: RunReader) -> float:
    """When the last shard was done, as Unix time; 0 for a remote run."""
    root = reader.run.store.local_root
    if root is None:
        return 0.0
    paths = [receipt_path(stage.name, r.shard) for stage in reader.stages for r in reader.receipts(stage.name)]
    return max(((root / path).stat().st_mtime for path in paths), default=0.0)


def recipe_section(material: Material) -> Section:
    """The main settings, the models with their digests, and the whole recipe."""
    plan = material.reader.run.plan
    settings = {words: _leaf(plan.config, path) for words, path in SETTINGS}
    settings = {words: value for words, value in settings.items() if value is not None}
    models: dict[str, str] = {}
    for stage in material.reader.stages:
        for receipt in material.reader.receipts(stage.name)[:1]:
            models.update(receipt.recipe.get("models", {}))
    kinds = {role: about.get("kind", "") for role, about in plan.config.get("models", {}).items()}
    rows = [{"role": role, "kind": kinds.get(role, ""), "digest": digest} for role, digest in sorted(models.items())]
    data = {"name": plan.name, "seed": plan.run_seed, "settings": settings, "models": models, "config": plan.config}
    return Section("recipe", "Recipe", data=data, view={"settings": settings, "models": rows, "plan": plan})


def _leaf(config: Mapping[str, Json], path: str) -> Json:
    """The value at a dotted path; None when there is none."""
    value: Json = config
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def credits_of(material: Material) -> list[dict[str, str]]:
    """File, title, author, licence and source of every photograph of which something is shown."""
    names = ("title", "author", "licence", "licence_url", "source")
    rows = []
    for key in sorted(material.album.photos):
        source = material.reader.source(key)
        if source:
            rows.append({"file": source.uri, **{name: getattr(source, name) for name in names}})
    return sorted(rows, key=lambda row: (row["title"] or row["file"]).lower())
