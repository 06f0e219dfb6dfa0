"""Embed: photos and kept canvases become vectors for search and token grids for fusion, both fp16."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.core.records import CANVAS, PHOTO, Embedding
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.backends.base.protocols import Encoder
from stages.photos.decode import to_array


class EmbedSettings(Settings):
    """micro_batch: images encoded together."""

    micro_batch: int = Field(16, ge=1)


class Embed(Stage):
    """See the module."""

    name = "embed"
    version = 1
    upstream = ("ingest", "outpaint", "filter")
    record = Embedding

    def __init__(self, settings: EmbedSettings, encoder: Encoder) -> None:
        self._encoder = encoder
        self._settings = settings
        self.micro_batch = settings.micro_batch

    def settings(self) -> dict[str, Any]:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        return {"encoder": self._encoder.digest}

    def tasks(self, shard: Shard) -> list[Task]:
        photos = {row["key"]: row for row in shard.rows("ingest")}
        tasks = [Task(key, {"photo": row, "kind": PHOTO, "stage": "ingest"}) for key, row in photos.items()]
        for row in shard.rows("filter"):
            tasks.append(Task(row["key"], {"photo": photos[row["photo"]], "kind": CANVAS, "stage": "outpaint"}))
        return tasks

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        encoded = self._encoder.encode([to_array(shard.image(task.payload["stage"], task.key)) for task in tasks])
        return [
            Outcome.kept(
                Embedding(
                    key=task.key,
                    photo=task.payload["photo"]["key"],
                    kind=task.payload["kind"],
                    split=task.payload["photo"]["split"],
                    vector=features.vector.astype(np.float16).tobytes(),
                    tokens=features.tokens.astype(np.float16).tobytes(),
                    grid_h=features.grid[0],
                    grid_w=features.grid[1],
                )
            )
            for task, features in zip(tasks, encoded, strict=True)
        ]
