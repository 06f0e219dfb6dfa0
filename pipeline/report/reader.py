"""Reads of a run what the report shows: receipts of all shards, tables of at most ``MAX_SHARDS``, single images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from pipeline.core.seeds import seed_for, shard_of
from pipeline.core.stage import Rows, Stage
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import SOURCES, Run
from pipeline.runs.status import StageStatus, funnel
from pipeline.shards import parquet

MAX_SHARDS = 40


class RunReader:
    """Sampled, cached access. Shards are ranked by how far they are, then by hash: the same for the same run."""

    def __init__(self, run: Run, stages: Sequence[Stage]) -> None:
        self.run = run
        self.stages = list(stages)
        self.funnel: list[StageStatus] = funnel(run, stages)
        self._receipts = {stage.name: {r.shard: r for r in run.receipts(stage.name)} for stage in stages}
        self._tables: dict[tuple[str, int, tuple[str, ...]], Rows] = {}

    def receipts(self, stage: str) -> list[Receipt]:
        """Receipts of a stage, by shard; empty when it has none."""
        return list(self._receipts.get(stage, {}).values())

    def has(self, stage: str) -> bool:
        """Whether any shard of a stage is done."""
        return bool(self._receipts.get(stage))

    @cached_property
    def rounds(self) -> list[str]:
        """Refinement rounds that have begun, in order."""
        return [stage.name for stage in self.stages if stage.name.startswith("refine/") and self.has(stage.name)]

    @cached_property
    def shards(self) -> list[int]:
        """The work shards that examples and distributions are drawn from."""
        count = self.run.plan.work_shards
        done = Counter(shard for found in self._receipts.values() for shard in found)
        ranked = sorted(range(count), key=lambda shard: (-done[shard], seed_for(0, "report", str(shard))))
        return sorted(ranked[:MAX_SHARDS])

    @property
    def is_sampled(self) -> bool:
        """Whether distributions come from some of the shards only."""
        return self.run.plan.work_shards > MAX_SHARDS

    def rows(self, stage: str, columns: Sequence[str]) -> Rows:
        """Rows of the sampled shards, kept or not, each with its ``shard``."""
        return [row for shard in self.shards for row in self.table(stage, shard, columns)]

    def table(self, stage: str, shard: int, columns: Sequence[str]) -> Rows:
        """Rows of one shard; empty when it is not done."""
        if shard not in self._receipts.get(stage, {}):
            return []
        wanted = ("key", "status", "reason", "detail", *columns)
        if (stage, shard, wanted) not in self._tables:
            rows = self.run.rows(stage, shard, list(wanted))
            self._tables[stage, shard, wanted] = [{**row, "shard": shard} for row in rows]
        return self._tables[stage, shard, wanted]

    def find(self, stage: str, key: str, columns: Sequence[str]) -> dict[str, Any] | None:
        """The row of a photo or canvas, in whatever shard it lies; None when its stage is not done there."""
        shard = shard_of(photo_of(key), self.run.plan.work_shards)
        return next((row for row in self.table(stage, shard, columns) if row["key"] == key), None)

    def image(self, stage: str, key: str) -> bytes | None:
        """The encoded picture of a photo (``ingest``) or canvas (``outpaint``), kept or rejected; None without one."""
        row = self.find(stage, key, ("image_offset", "image_size"))
        if row is None or row["image_size"] is None:
            return None
        path = self.run.output_of(self._receipts[stage][row["shard"]], ".tar")
        return self.run.store.read_range(path, row["image_offset"], row["image_size"])

    def source(self, key: str) -> dict[str, Any]:
        """The input file of a photo, with its credits; empty when the list of inputs is gone."""
        return self._sources.get(key, {})

    @cached_property
    def _sources(self) -> dict[str, dict[str, Any]]:
        if not self.run.store.exists(f"{SOURCES}.parquet"):
            return {}
        rows = parquet.decode(self.run.store.read(f"{SOURCES}.parquet"))
        return {row["key"]: row for row in rows}

    def source_of_file(self, name: str) -> dict[str, Any]:
        """The input file of that base name, with its credits; empty when there is none."""
        return next((row for row in self._sources.values() if row["uri"].rsplit("/", 1)[-1] == name), {})


def photo_of(key: str) -> str:
    """The photo's key of a photo or canvas key (``<photo>-<variant>``)."""
    return key.split("-")[0]


def sample_rows(rows: Iterable[dict[str, Any]], count: int, purpose: str) -> Rows:
    """``count`` rows chosen by hash of their keys, of different photos as far as possible."""
    ranked = sorted(rows, key=lambda row: (seed_for(0, f"report/{purpose}", row["key"]), row["key"]))
    seen: Counter[str] = Counter()
    turns = []
    for index, row in enumerate(ranked):
        photo = photo_of(row["key"])
        turns.append((seen[photo], index))
        seen[photo] += 1
    return [ranked[index] for _, index in sorted(turns)[:count]]
