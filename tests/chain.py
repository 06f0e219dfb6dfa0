"""A whole recipe with stand-in models, for tests of the machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.core.stage import Stage
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.runner import Options, run_stages
from pipeline.engine.shard_runner import Control, Event, run_shard
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store
from stages.backends.captioners.template import CaptionSettings, TemplateCaptioner
from stages.backends.registry import Models
from stages.recipe import Recipe, stages_with
from tests.fakes import FakeEncoder, FakeOutpainter, FakeScorer, FakeSegmenter


def make_photos(folder: Path, count: int, seed: int = 0) -> Path:
    """Small photographs of smooth random texture, each different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(
            folder / f"photo {number}.jpg", quality=90
        )
    return folder


def recipe_for(source: Path, **over) -> Recipe:
    """A small recipe on a folder of photographs."""
    data = {
        "name": "test",
        "work_shards": 3,
        "ingest": {"source": str(source), "splits": {"train": 0.6, "val": 0.2, "test": 0.2}},
        "outpaint": {"variants": 3, "held_out_variants": 2, "long_side": 96, "micro_batch": 2},
        "refine": {"rounds": 2, "beam": 4, "moves": 2},
        "filter": {"max_crops": 4},
        "build": {"shards": 4},
        "retrieve": {"k": 3},
    }
    for key, value in over.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return Recipe.model_validate(data)


def session_for(
    recipe: Recipe,
    work: Path,
    paint_seconds: float = 0.0,
    outpainter=None,
    segmenter=None,
    scorer=None,
    encoder=None,
    faces=None,
) -> Session:
    """A recipe with stand-in models bound to a run directory."""
    store = open_store(str(work))
    plan = freeze_plan(store, Plan(recipe.name, recipe.seed, recipe.work_shards, recipe.model_dump(mode="json")))
    captioner = TemplateCaptioner(CaptionSettings())
    segmenter, scorer, encoder = segmenter or FakeSegmenter(), scorer or FakeScorer(), encoder or FakeEncoder()
    stages = stages_with(
        recipe, Models(captioner, outpainter or FakeOutpainter(paint_seconds), segmenter, scorer, encoder, faces=faces)
    )
    return Session(recipe, Run(store, plan), stages)


class InProcessExecutor:
    """Does shards one after the other in this process: no start of a worker, which takes longer than a small run."""

    def __init__(self, run: Run, on_event: Callable[[Event], None]) -> None:
        self._run, self._control = run, Control(report=on_event)

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterator[Receipt]:
        """Receipts in the order of the shards."""
        return (run_shard(stage, self._run, shard, self._control) for shard in shards)


def run_chain(session: Session, workers: int = 0, until: str = "", **options):
    """All stages, or those up to ``until``; workers: processes, 0 for this one; ``options`` are the runner's."""
    display = Display(quiet=True)
    refresh_sources(session, display)
    stages = session.stages
    if until:
        last = max(i for i, stage in enumerate(stages) if stage.verb == until)
        stages = stages[: last + 1]
    local = LocalExecutor(session.run, stages, workers=workers, on_event=display.on_event) if workers else None
    with local or nullcontext(InProcessExecutor(session.run, display.on_event)) as executor:
        return run_stages(
            stages,
            session.run,
            executor,
            watcher=display,
            chain=session.stages,
            options=Options(**options),
        )


def kept_rows(session: Session, stage: str) -> list[dict]:
    """Kept rows of a stage, over all its shards."""
    told = session.run.tables()
    return [row for shard in told.shards(stage) for row in told.columns(stage, shard, None).to_pylist()]
