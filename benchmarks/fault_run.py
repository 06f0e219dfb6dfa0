"""A small whole run with stand-in models, for ``bench faults`` to kill: ``python -m benchmarks.fault_run SOURCE WORK``.

It has two worker processes, a stage with a journal, one with rounds, prologues and an epilogue: every way to commit there is.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.cli.display import Display
from pipeline.cli.options import Session
from pipeline.cli.sources import refresh_sources
from pipeline.errors import ProcropError
from pipeline.executors.local import LocalExecutor
from pipeline.plan import Plan, freeze
from pipeline.run import Run
from pipeline.runner import Options, run_stages
from pipeline.storage import open_store
from stages.backends.protocols import Encoded
from stages.backends.template_captioner import CaptionSettings, TemplateCaptioner
from stages.build import Build
from stages.caption import CaptionStage
from stages.embed import Embed
from stages.filter import Filter
from stages.ingest import Ingest
from stages.outpaint import Outpaint
from stages.propose import Propose
from stages.recipe import Recipe
from stages.refine import RefineRound, round_name
from stages.retrieve import Retrieve

WORKERS = 2


@dataclass
class Painter:
    """The photograph's edges stretched outward, with seeded noise so that two variants differ."""

    name: str = "stretch"
    licence: str = "MIT"
    digest: str = "stretch1"

    def paint(self, requests: Any) -> list[Any]:
        out = []
        for request in requests:
            (width, height), (x1, y1, x2, y2) = request.size, request.box_px
            wide = np.pad(request.photo, ((y1, height - y2), (x1, width - x2), (0, 0)), mode="edge").astype(int)
            noise = np.random.default_rng(request.seed).integers(-20, 20, wide.shape)
            out.append(np.clip(wide + noise, 0, 255).astype(np.uint8))
        return out


@dataclass
class Middle:
    """The subject is the middle of a picture; a box is good that is central and large; a feature is a mean colour."""

    name: str = "middle"
    licence: str = "MIT"
    digest: str = "middle01"

    def segment(self, images: Any) -> list[Any]:
        masks = []
        for image in images:
            height, width = image.shape[:2]
            mask = np.zeros((height, width), np.float32)
            mask[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5] = 1
            masks.append(mask)
        return masks

    def score(self, images: Any, boxes: Any) -> list[Any]:
        out = []
        for image, found in zip(images, boxes, strict=True):
            height, width = image.shape[:2]
            x1, y1, x2, y2 = np.asarray(found, np.float32).reshape(-1, 4).T
            share = (x2 - x1) * (y2 - y1) / (width * height)
            off = np.abs((x1 + x2) / 2 / width - 0.5) + np.abs((y1 + y2) / 2 / height - 0.5)
            out.append((10 - 6 * np.abs(share - 0.66) - 4 * off).astype(np.float32))
        return out

    def encode(self, images: Any) -> list[Encoded]:
        out = []
        for image in images:
            height, width = image.shape[0] // 2, image.shape[1] // 2
            cells = [image[:height, :width], image[:height, width:], image[height:, :width], image[height:, width:]]
            tokens = np.stack([cell.reshape(-1, 3).mean(0) for cell in cells]).astype(np.float32) / 255
            vector = tokens.ravel() + 0.01
            out.append(Encoded(vector / np.linalg.norm(vector), tokens, (2, 2)))
        return out


def make_photos(folder: Path, count: int) -> None:
    """Small photographs of smooth random texture, each different."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"photo {number:02d}.jpg", quality=90)


def session_for(source: Path, work: Path) -> Session:
    """The recipe bound to a run directory."""
    recipe = Recipe.model_validate(
        {
            "name": "faults",
            "work_shards": 2,
            "ingest": {"source": str(source), "splits": {"train": 0.6, "val": 0.2, "test": 0.2}},
            "outpaint": {"variants": 3, "held_out_variants": 2, "long_side": 96, "micro_batch": 2},
            "refine": {"rounds": 1, "beam": 4, "moves": 2},
            "filter": {"max_crops": 4},
            "build": {"shards": 3},
            "retrieve": {"k": 3},
        }
    )
    store = open_store(str(work))
    plan = freeze(store, Plan(recipe.name, recipe.seed, recipe.work_shards, recipe.model_dump(mode="json")))
    model = Middle()
    stages = [
        Ingest(recipe.ingest),
        CaptionStage(TemplateCaptioner(CaptionSettings())),
        Outpaint(recipe.outpaint, Painter(), model),
        Propose(recipe.propose, model),
        *(RefineRound(number, recipe.refine, model) for number in range(1, recipe.refine.rounds + 1)),
        Filter(recipe.filter, round_name(recipe.refine.rounds)),
        Build(recipe.build, f"{model.name}@{model.digest}"),
        Embed(recipe.embed, model),
        Retrieve(recipe.retrieve, model.digest),
    ]
    return Session(recipe, Run(store, plan), stages)


def run_all(source: Path, work: Path) -> None:
    """Bring the whole run to its end, as ``procrop-data run`` does."""
    session, display = session_for(source, work), Display(quiet=True)
    refresh_sources(session, display)
    stages = session.stages
    with LocalExecutor(session.run, stages, workers=WORKERS, on_event=display.on_event) as executor:
        run_stages(stages, session.run, executor, watcher=display, chain=stages, options=Options())


def digests(work: Path) -> dict[str, str]:
    """sha256 of every file of a run directory but locks, journals and receipts (they hold times)."""
    return {
        str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(work.rglob("*"))
        if path.is_file() and not _passing(path.relative_to(work))
    }


def _passing(path: Path) -> bool:
    return (
        path.name.endswith(".receipt.json") or ".partial." in path.name or bool({"locks", "journal"} & set(path.parts))
    )


def promised(source: Path, work: Path) -> dict[str, str]:
    """What the receipts say of every output; raises DamagedDataError for a receipt that is not whole."""
    return {path: about["sha256"] for receipt in _receipts(source, work) for path, about in receipt.outputs.items()}


def _receipts(source: Path, work: Path) -> Iterator[Any]:
    session = session_for(source, work)
    for stage in session.stages:
        yield from session.run.receipts(stage.name)


def keys_of(source: Path, work: Path) -> Counter[tuple[str, str]]:
    """How often each (stage, key) has a row."""
    session = session_for(source, work)
    found: Counter[tuple[str, str]] = Counter()
    for stage in session.stages:
        for receipt in session.run.receipts(stage.name):
            found.update((stage.name, row["key"]) for row in session.run.rows(stage.name, receipt.shard, ["key"]))
    return found


if __name__ == "__main__":
    try:
        run_all(Path(sys.argv[1]), Path(sys.argv[2]))
    except ProcropError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
