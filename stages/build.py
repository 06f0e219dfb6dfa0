"""Build: the final WebDataset shards, their metadata, index, checksums and card. Image bytes are copied, never re-encoded."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from pydantic import Field

from pipeline import tables as parquet
from pipeline.settings import Settings
from pipeline.stage import KEPT, Outcome, Rows, Shard, Stage, Tables, Task
from stages.assignment import assign
from stages.backends.protocols import Encoder
from stages.dataset_card import card_files
from stages.excluded import excluded_digest
from stages.leak_guard import LEAKS, guard
from stages.leaks import REASONS

NAMES = "names.json"


class BuildSettings(Settings):
    """name: of the dataset, part of every file name; shards: over all splits together.

    exclude_near: folders (or what else ``ingest.source`` may be) of test sets; photographs near one of their pictures are
    left out. near_duplicates: leave out all but the largest of near photographs within a split; across splits they always are.
    """

    name: str = Field("procrop", pattern=r"^[a-z0-9_]+$", max_length=40)
    shards: int = Field(256, ge=1, le=999_999)
    exclude_near: tuple[str, ...] = ()
    near_duplicates: bool = True


@dataclass(frozen=True)
class Sample:
    """One sample's JSON, and the row of the metadata table. Every key is always there and nothing is null (DESIGN 5)."""

    key: str
    photo: str
    width: int
    height: int
    photo_box: list[int]
    crops: list[list[float]]
    scores: list[float]
    origins: list[str]
    prompt: str
    negative_prompt: str
    seed: int
    outpainter: str
    scorer: str
    licence: str
    author: str
    source: str


@dataclass(frozen=True)
class _Placed:
    """A sample's record in the prologue's files, with where its image is and what its bytes hash to."""

    key: str
    sample: str
    path: str
    offset: int
    size: int
    sha256: str


class Build(Stage):
    """See the module. Its prologue writes one small table a final shard, so that a shard depends on its own samples only."""

    name = "build"
    version = 2
    upstream = ("dedup", "outpaint", "filter")
    record = Sample
    reasons = REASONS
    extensions = ("jpg", "json", "npy")
    micro_batch = 1024
    prologue_needed = True
    epilogue_needed = True
    regroups = True

    def __init__(self, settings: BuildSettings, scorer: str, encoder: Encoder) -> None:
        self._settings = settings
        self._scorer = scorer
        self._encoder = encoder

    def settings(self) -> dict[str, Any]:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        return {"scorer": self._scorer, "encoder": self._encoder.digest}

    def outside(self) -> dict[str, str]:
        folders = self._settings.exclude_near
        return {"exclude_near": excluded_digest(folders)} if folders else {}

    def shards(self, work_shards: int) -> int:
        return self._settings.shards

    def prologue(self, tables: Tables) -> dict[str, bytes]:
        """Which sample goes where, decided once over all work shards."""
        canvases = {row["key"]: row for row in tables.rows("outpaint", None)}
        rows = [{**row, "split": canvases[row["key"]]["split"]} for row in tables.rows("filter", None)]
        leaks = guard(tables.rows("dedup", None), {row["photo"] for row in rows}, self._settings, self._encoder)
        dropped = [row for row in rows if row["photo"] in leaks.found]
        rows = [row for row in rows if row["photo"] not in leaks.found]
        assigned = assign(rows, self._settings.shards, tables.run_seed, self._settings.name)
        files = {NAMES: json.dumps([stem for stem, _ in assigned]).encode(), LEAKS: leaks.encode()}
        for number, (_, part) in enumerate(assigned):
            placed = [self._place(row, canvases[row["key"]], tables) for row in part]
            schema = parquet.schema_of(_Placed)
            outcomes = [Outcome.kept(item) for item in placed] + leaks.rejects(dropped, number, len(assigned))
            files[f"{number:06d}.parquet"] = parquet.encode([parquet.row_of(o) for o in outcomes], schema)
        return files

    def _place(self, crops: dict[str, Any], canvas: dict[str, Any], tables: Tables) -> _Placed:
        copied = {f.name: canvas[f.name] for f in fields(Sample) if f.name in canvas}
        sample = Sample(
            **copied,
            crops=[[float(v) for v in box] for box in crops["boxes"]],
            scores=[float(v) for v in crops["scores"]],
            origins=crops["origins"],
            scorer=self._scorer,
        )
        return _Placed(
            key=crops["key"],
            sample=_json(sample),
            path=tables.path("outpaint", canvas["shard"]),
            offset=canvas["image_offset"],
            size=canvas["image_size"],
            sha256=canvas["image_sha256"],
        )

    def shared_files(self, shard: int, names: Sequence[str]) -> list[str]:
        return [f"{shard:06d}.parquet"]

    def paths(self, shard: int, shared: Callable[[str], bytes]) -> tuple[str, str]:
        stem = json.loads(shared(NAMES))[shard]
        return f"dataset/shards/{stem}.tar", f"dataset/metadata/{stem}.parquet"

    def tasks(self, shard: Shard) -> list[Task]:
        return [Task(row["key"], row) for row in parquet.decode(shard.shared(f"{shard.number:06d}.parquet"))]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        return [self._one(task.payload, shard) for task in tasks]

    def _one(self, row: dict[str, Any], shard: Shard) -> Outcome:
        if row["status"] != KEPT:
            return Outcome.rejected(row["key"], row["reason"], row["detail"])
        sample = Sample(**json.loads(row["sample"]))
        image = shard.read_range(row["path"], row["offset"], row["size"])
        files = {"jpg": image, "json": row["sample"].encode(), "npy": _labels(sample)}
        return Outcome.kept(sample, files)

    def epilogue(self, tables: Tables) -> dict[str, bytes]:
        """Index, checksums and card, beside the tars."""
        receipts = tables.receipts(self.name)
        rows: Rows = tables.rows(self.name, None)
        return card_files(self._settings.name, receipts, rows, tables)


def _json(sample: Sample) -> str:
    """Fixed key order, floats always written as floats: HF infers types from the first rows."""
    return json.dumps({f.name: getattr(sample, f.name) for f in fields(Sample)}, ensure_ascii=False)


def _labels(sample: Sample) -> bytes:
    """npy of float32 [n, 5]: x1, y1, x2, y2, score of each crop, the pseudo-label first."""
    rows = [[*box, score] for box, score in zip(sample.crops, sample.scores, strict=True)]
    sink = io.BytesIO()
    np.save(sink, np.asarray(rows, np.float32).reshape(-1, 5), allow_pickle=False)
    return sink.getvalue()
