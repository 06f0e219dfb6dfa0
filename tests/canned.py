"""A finished run directory without models: stages hand out given outcomes, the real machine commits them."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.records import Canvas, Crops, Neighbours, Photo, Proposals, Refined, Source
from pipeline.core.seeds import shard_of
from pipeline.core.stage import Outcome, Stage, Task
from pipeline.engine.run_level_steps import run_prologue
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run
from pipeline.shards import parquet
from pipeline.storage.open_store import open_store

SHARDS = 3
PHOTOS = 9
VARIANTS = 3


class Canned(Stage):
    """A stage whose outcomes are known beforehand."""

    def __init__(self, name, record, outcomes, *, upstream=("sources",), reasons=(), images=False, shared=None):
        self.name, self.record, self.upstream, self.reasons = name, record, upstream, reasons
        self.extensions = ("jpg",) if images else ()
        self._outcomes, self._shared = outcomes, shared or {}
        self.prologue_needed = shared is not None

    def settings(self):
        return {}

    def models(self):
        return {"scorer": "canned-scorer"} if self.name.startswith("refine") else {}

    def prologue(self, tables):
        return iter(self._shared.items())

    def tasks(self, shard):
        found = sorted(self._outcomes, key=lambda outcome: outcome.key)
        mine = [outcome for outcome in found if shard_of(outcome.key.split("-")[0], shard.count) == shard.number]
        return [Task(outcome.key, outcome) for outcome in mine]

    def run(self, tasks, shard):
        return [task.payload for task in tasks]


def picture(number, size=(160, 120)):
    """JPEG of a smooth pattern of its own."""
    coarse = np.random.default_rng(number).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=85)
    return sink.getvalue()


def _key(number):
    return hashlib.sha256(f"photo {number}".encode()).hexdigest()[:24]


def _source(number, shards):
    key = _key(number)
    return Source(
        key=key, uri=f"photo {number}.jpg", shard=shard_of(key, shards), duplicate_of=_key(0) if number == 1 else "",
        title=f"Title {number} <b>&", author="A. Author", licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/", source="a package", split="",
    )  # fmt: skip


def _photos(sources):
    """All but the second, a duplicate, and the third, which is broken."""
    out = []
    for number, s in enumerate(sources):
        if number == 1:
            out.append(Outcome.rejected(s.key, "duplicate", f"{s.uri}: same picture as {s.duplicate_of}"))
        elif number == 2:
            out.append(Outcome.rejected(s.key, "truncated", f"{s.uri}: image file is cut <script>"))
        else:
            photo = Photo(
                s.key, s.uri, 160, 120, "0" * 16, False, s.title, s.author, s.licence, s.licence_url, s.source,
                "test" if number == 3 else "train",
            )  # fmt: skip
            out.append(Outcome.kept(photo, {"jpg": picture(number)}))
    return out


def _canvases(photos):
    out = []
    for number, photo in enumerate(photos):
        for variant in range(VARIANTS):
            canvas = Canvas(
                key=f"{photo.key}-{variant:02d}", photo=photo.key, variant=variant, width=192, height=128,
                photo_box=[30, 20, 150, 110], subject_box=[60, 40, 100, 80], prompt="", negative_prompt="", seed=1,
                outpainter="canned@1", seam="", split=photo.split,
            )  # fmt: skip
            files = {"jpg": picture(100 + number * 10 + variant, (192, 128))}
            blank = number == 0 and variant == 0
            reject = Outcome.rejected(canvas.key, "blank", "the paint has 0.01 of the contrast", canvas, files)
            out.append(reject if blank else Outcome.kept(canvas, files))
    return out


BOXES = [[30.0, 20.0, 150.0, 110.0], [20.0, 10.0, 140.0, 100.0], [40.0, 30.0, 160.0, 120.0], [0.0, 0.0, 190.0, 126.0]]
ORIGINS = ["photo", "jitter", "grid", "subject"]


def _refined(canvases, number):
    rows = []
    for index, canvas in enumerate(canvases):
        scores = [6.0 + 0.1 * index, 5.0 + number, 4.5 + number, 4.0 + number]
        rows.append(Refined(canvas.key, canvas.photo, number, BOXES, ORIGINS, scores, gain=1.0, active=index % 2 == 0))
    return [*(Outcome.kept(row) for row in rows[:-1]), Outcome.failed(rows[-1].key, ValueError("no score"))]


def _verdicts(canvases):
    out = []
    for index, canvas in enumerate(canvases):
        record = Crops(canvas.key, canvas.photo, BOXES[:3], ORIGINS[:3], [6.0, 7.0, 6.5], 7.0)
        reject = Outcome.rejected(canvas.key, "low_score", "pseudo-label scores 1.00, under 2.00", record)
        out.append(reject if index % 5 == 4 else Outcome.kept(record))
    return out


def _neighbours(crops, train):
    others = [key for key in train if key != crops.photo][:4]
    return Outcome.kept(Neighbours(crops.key, crops.photo, others, [0.9, 0.8, 0.7, 0.6]))


def canned_stages(shards=SHARDS):
    """The stages of the canned run, in order, and its sources."""
    sources = [_source(number, shards) for number in range(PHOTOS)]
    photos = _photos(sources)
    canvases = _canvases([o.record for o in photos if o.record])
    kept = [o.record for o in canvases if o.status == "kept"]
    verdicts = _verdicts(kept)
    broken = Outcome.failed(kept[-1].key, ValueError("no subject"))
    proposals = [Outcome.kept(Proposals(c.key, c.photo, BOXES, ORIGINS)) for c in kept[:-1]]
    train = [o.record.key for o in photos if o.record and o.record.split == "train"]
    found = [_neighbours(o.record, train) for o in verdicts if o.status == "kept"]
    calibration = json.dumps({"canvas_threshold": 5.5, "crop_threshold": 4.25, "canvases": 17, "crops": 51}).encode()
    stages = [
        Canned("ingest", Photo, photos, reasons=("duplicate", "truncated"), images=True),
        Canned("outpaint", Canvas, canvases, upstream=("ingest",), reasons=("blank",), images=True),
        Canned("propose", Proposals, [*proposals, broken], upstream=("outpaint",)),
        Canned("refine/round-01", Refined, _refined(kept[:-1], 1), upstream=("propose",)),
        Canned("refine/round-02", Refined, _refined(kept[:-1], 2), upstream=("refine/round-01",)),
        Canned(
            "filter", Crops, verdicts[:-1], upstream=("refine/round-02",), reasons=("low_score",),
            shared={"calibration.json": calibration},
        ),
        Canned("retrieve", Neighbours, found, upstream=("ingest",)),
    ]  # fmt: skip
    return stages, sources


def canned_run(work: Path, until: str = "retrieve", *, skip: tuple[str, int] | None = None, shards: int = SHARDS):
    """A run directory done up to a stage ('' for nothing), and its stages. skip: a (stage, shard) to leave undone."""
    stages, sources = canned_stages(shards)
    config = {"build": {"name": "canned"}, "outpaint": {"variants": VARIANTS}, "models": {"scorer": {"kind": "canned"}}}
    run = Run(open_store(str(work)), freeze_plan(open_store(str(work)), Plan("canned-recipe", 7, shards, config)))
    rows = [parquet.row_of(Outcome.kept(source)) for source in sorted(sources, key=lambda s: s.key)]
    run.store.write("sources.parquet", parquet.encode(rows, parquet.schema_of(Source)))
    names = [stage.name for stage in stages]
    for stage in stages[: names.index(until) + 1] if until else []:
        if stage.prologue_needed:
            run_prologue(stage, run, dict.fromkeys(stage.upstream, shards))
        for shard in range(shards):
            if (stage.name, shard) != skip:
                run_shard(stage, run, shard, Control())
    return run, stages
