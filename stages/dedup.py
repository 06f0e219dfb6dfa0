"""Dedup: what each photograph is recognised by, for ``build`` to find near-duplicates. It drops nothing itself."""

from collections.abc import Sequence

from pipeline.core.json_types import JsonObject
from pipeline.core.records import Photo, Signature
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.backends.base.protocols import Encoder
from stages.near_duplicates.similarity import signature_of
from stages.photos.decode import to_array


class Dedup(Stage[Photo]):
    """Computes signatures early, so that each photograph is encoded once, however often ``build`` is run."""

    name = "dedup"
    version = 1
    upstream = ("ingest",)
    record = Signature
    micro_batch = 8

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def settings(self) -> JsonObject:
        return {}

    def models(self) -> dict[str, str]:
        return {"encoder": self._encoder.digest}

    def tasks(self, shard: Shard) -> list[Task[Photo]]:
        return [Task(photo.key, photo) for photo in shard.rows("ingest", Photo)]

    def run(self, tasks: Sequence[Task[Photo]], shard: Shard) -> list[Outcome]:
        images = [to_array(shard.image("ingest", task.key)) for task in tasks]
        encoded = self._encoder.encode(images)
        return [
            Outcome.kept(signature_of(task.key, task.payload.uri, task.payload.split, image, features.vector))
            for task, image, features in zip(tasks, images, encoded, strict=True)
        ]
