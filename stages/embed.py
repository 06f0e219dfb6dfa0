"""Embed: the features of photos and kept canvases that retrieval and training read, as ``perceive`` computed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import Field

from pipeline.core.json_types import JsonObject
from pipeline.core.records import PERCEIVED_CANVASES, PERCEIVED_PHOTOS, Embedding
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Task


class EmbedSettings(Settings):
    """Settings of the rows that are written together.

    Args:
        micro_batch: rows.
    """

    micro_batch: int = Field(256, ge=1)


@dataclass(frozen=True)
class _Features:
    """The columns of ``Perception`` that an ``Embedding`` holds."""

    key: str
    photo: str
    kind: str
    vector: bytes
    tokens: bytes
    grid_h: int
    grid_w: int


@dataclass(frozen=True)
class _Split:
    """The columns of ``Photo`` that are needed."""

    key: str
    split: str


@dataclass(frozen=True)
class _Kept:
    """The columns of ``Crops`` that are needed."""

    key: str


@dataclass(frozen=True)
class _Picture:
    """A photo or canvas of a split."""

    features: _Features
    split: str


class Embed(Stage[_Picture]):
    """Chooses the photos of a shard and the canvases that ``filter`` kept; it runs no model."""

    name = "embed"
    version = 2  # 2: features come from perceive
    upstream = ("ingest", PERCEIVED_PHOTOS, PERCEIVED_CANVASES, "filter")
    reads = MappingProxyType(
        {"ingest": (_Split,), PERCEIVED_PHOTOS: (_Features,), PERCEIVED_CANVASES: (_Features,), "filter": (_Kept,)}
    )
    record = Embedding

    def __init__(self, settings: EmbedSettings) -> None:
        self._settings = settings
        self.micro_batch = settings.micro_batch

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def tasks(self, shard: Shard) -> list[Task[_Picture]]:
        splits = {photo.key: photo.split for photo in shard.rows("ingest", _Split)}
        canvases = {row.key: row for row in shard.rows(PERCEIVED_CANVASES, _Features)}
        kept = [canvases[crops.key] for crops in shard.rows("filter", _Kept)]
        rows = [*shard.rows(PERCEIVED_PHOTOS, _Features), *kept]
        return [Task(row.key, _Picture(row, splits[row.photo])) for row in rows]

    def run(self, tasks: Sequence[Task[_Picture]], shard: Shard) -> list[Outcome]:
        return [Outcome.kept(Embedding(split=task.payload.split, **vars(task.payload.features))) for task in tasks]
