"""Reads a run for the report: receipts of all shards, tables of at most ``MAX_SHARDS`` shards, single images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from pipeline.core.records import Source
from pipeline.core.seeds import seed_for, shard_of
from pipeline.core.stage import KEPT, Stage
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import SOURCES, Run
from pipeline.runs.status import StageStatus, funnel
from pipeline.shards import parquet

MAX_SHARDS = 40  # bounds time and memory of a report: a large run shows distributions of a sample of its shards

Record = TypeVar("Record")


class Keyed(Protocol):
    """Anything with the key of a photo or canvas."""

    @property
    def key(self) -> str: ...


KeyedT = TypeVar("KeyedT", bound=Keyed)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one sample: its status (``kept``, ``rejected`` or ``failed``), the reason and the detail."""

    key: str
    shard: int
    status: str
    reason: str
    detail: str


@dataclass(frozen=True)
class StageRow(Verdict, Generic[Record]):
    """A row of a stage's table. record: None for a rejected or failed sample without one."""

    record: Record | None


class RunReader:
    """Cached access to a run. The sampled shards are those on which most stages are done, then by hash.

    Args:
        run: the run directory.
        stages: of its recipe, in order.
    """

    def __init__(self, run: Run, stages: Sequence[Stage]) -> None:
        self.run = run
        self.stages = list(stages)
        self.funnel: list[StageStatus] = funnel(run, stages)
        self._receipts = {stage.name: {r.shard: r for r in run.receipts(stage.name)} for stage in stages}
        self._tables: dict[tuple[str, int, type], list[StageRow[Any]]] = {}
        self._verdicts: dict[tuple[str, int], list[Verdict]] = {}
        self._images: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}

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
        """The work shards that examples and distributions are drawn from; the same for the same run."""
        count = self.run.plan.work_shards
        done = Counter(shard for receipts in self._receipts.values() for shard in receipts)
        ranked = sorted(range(count), key=lambda shard: (-done[shard], seed_for(0, "report", str(shard))))
        return sorted(ranked[:MAX_SHARDS])

    @property
    def is_sampled(self) -> bool:
        """Whether distributions come from some of the shards only."""
        return self.run.plan.work_shards > MAX_SHARDS

    def verdicts(self, stage: str, shard: int) -> list[Verdict]:
        """Outcomes of all samples of one shard; empty when it is not done."""
        if shard not in self._receipts.get(stage, {}):
            return []
        if (stage, shard) not in self._verdicts:
            rows = self.run.rows(stage, shard, parquet.OWN_COLUMNS)
            self._verdicts[stage, shard] = [Verdict(shard=shard, **row) for row in rows]
        return self._verdicts[stage, shard]

    def rows(self, stage: str, record: type[Record]) -> list[StageRow[Record]]:
        """Rows of the sampled shards, kept or not."""
        return [row for shard in self.shards for row in self._table(stage, shard, record)]

    def kept(self, stage: str, record: type[Record]) -> list[Record]:
        """Records of the kept samples of the sampled shards."""
        return [row.record for row in self.rows(stage, record) if row.status == KEPT and row.record is not None]

    def find(self, stage: str, key: str, record: type[Record]) -> Record | None:
        """The record of a photo or canvas, in whatever shard it is; None when it has none or its stage is not done there."""
        table = self._table(stage, self._shard_of(key), record)
        return next((row.record for row in table if row.key == key), None)

    def _table(self, stage: str, shard: int, record: type[Record]) -> list[StageRow[Record]]:
        if shard not in self._receipts.get(stage, {}):
            return []
        if (stage, shard, record) not in self._tables:
            records = parquet.records_of(record, self.run.table(stage, shard, parquet.columns_of(record)))
            verdicts = self.verdicts(stage, shard)
            self._tables[stage, shard, record] = [
                StageRow(**vars(verdict), record=one) for verdict, one in zip(verdicts, records, strict=True)
            ]
        return self._tables[stage, shard, record]

    def _shard_of(self, key: str) -> int:
        return shard_of(photo_of(key), self.run.plan.work_shards)

    def image(self, stage: str, key: str) -> bytes | None:
        """The encoded image of a photo (``ingest``) or canvas (``outpaint``), kept or rejected; None without one."""
        shard = self._shard_of(key)
        receipt = self._receipts.get(stage, {}).get(shard)
        if receipt is None:
            return None
        if (stage, shard) not in self._images:
            rows = self.run.rows(stage, shard, ["key", "image_offset", "image_size"])
            self._images[stage, shard] = {
                row["key"]: (row["image_offset"], row["image_size"]) for row in rows if row["image_size"] is not None
            }
        place = self._images[stage, shard].get(key)
        return None if place is None else self.run.store.read_range(self.run.output_of(receipt, ".tar"), *place)

    def source(self, key: str) -> Source | None:
        """The input file of a photo, with its credits; None when the list of inputs does not have it."""
        return self._sources.get(key)

    @cached_property
    def _sources(self) -> dict[str, Source]:
        if not self.run.store.exists(f"{SOURCES}.parquet"):
            return {}
        table = parquet.decode_table(self.run.store.read(f"{SOURCES}.parquet"))
        return {source.key: source for source in parquet.records_of(Source, table) if source is not None}

    def source_of_file(self, name: str) -> Source | None:
        """The input file with that base name; None when there is none."""
        return next((source for source in self._sources.values() if source.uri.rsplit("/", 1)[-1] == name), None)


def photo_of(key: str) -> str:
    """The photo's key of a photo or canvas key (``<photo>-<variant>``)."""
    return key.split("-")[0]


def first_of_each_photo(ranked: Sequence[KeyedT], count: int) -> list[KeyedT]:
    """``count`` rows in their order, of different photos as far as possible."""
    seen: Counter[str] = Counter()
    turns = []
    for index, row in enumerate(ranked):
        photo = photo_of(row.key)
        turns.append((seen[photo], index))
        seen[photo] += 1
    return [ranked[index] for _, index in sorted(turns)[:count]]


def sample_rows(rows: Iterable[KeyedT], count: int, purpose: str) -> list[KeyedT]:
    """``count`` rows chosen by hash of their keys, of different photos as far as possible."""
    ranked = sorted(rows, key=lambda row: (seed_for(0, f"report/{purpose}", row.key), row.key))
    return first_of_each_photo(ranked, count)
