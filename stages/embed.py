"""Embed: photos and kept canvases become vectors for search and token grids for fusion, both fp16."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from pipeline.core.json_types import JsonObject
from pipeline.core.records import CANVAS, PHOTO, Crops, Embedding, Photo
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.backends.base.protocols import Encoder
from stages.photos.decode import to_array


class EmbedSettings(Settings):
    """Settings of the encoder's batches.

    Args:
        micro_batch: images encoded together.
    """

    micro_batch: int = Field(16, ge=1)


@dataclass(frozen=True)
class _Picture:
    """A photo, or a canvas of it (``kind``), whose image is in the tar of ``stage``."""

    photo: Photo
    kind: str
    stage: str


class Embed(Stage[_Picture]):
    """Encodes the photos of a shard, then the canvases that ``filter`` kept."""

    name = "embed"
    version = 1
    upstream = ("ingest", "outpaint", "filter")
    record = Embedding

    def __init__(self, settings: EmbedSettings, encoder: Encoder) -> None:
        self._encoder = encoder
        self._settings = settings
        self.micro_batch = settings.micro_batch

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        return {"encoder": self._encoder.digest}

    def tasks(self, shard: Shard) -> list[Task[_Picture]]:
        photos = {photo.key: photo for photo in shard.rows("ingest", Photo)}
        tasks = [Task(key, _Picture(photo, PHOTO, "ingest")) for key, photo in photos.items()]
        for crops in shard.rows("filter", Crops):
            tasks.append(Task(crops.key, _Picture(photos[crops.photo], CANVAS, "outpaint")))
        return tasks

    def run(self, tasks: Sequence[Task[_Picture]], shard: Shard) -> list[Outcome]:
        encoded = self._encoder.encode([to_array(shard.image(task.payload.stage, task.key)) for task in tasks])
        return [
            Outcome.kept(
                Embedding(
                    key=task.key,
                    photo=task.payload.photo.key,
                    kind=task.payload.kind,
                    split=task.payload.photo.split,
                    vector=features.vector.astype(np.float16).tobytes(),
                    tokens=features.tokens.astype(np.float16).tobytes(),
                    grid_h=features.grid[0],
                    grid_w=features.grid[1],
                )
            )
            for task, features in zip(tasks, encoded, strict=True)
        ]
