"""Dedup: what each photograph is recognised by, for ``build`` to find near-duplicates. It drops nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from pipeline.core.json_types import JsonObject
from pipeline.core.records import PERCEIVED_PHOTOS, ImageBytes, Signature
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.near_duplicates.similarity import signature_of
from stages.photos.decode import to_array


@dataclass(frozen=True)
class _Photo:
    """The columns of ``Photo`` that are needed."""

    key: str
    uri: str
    split: str


@dataclass(frozen=True)
class _Vector:
    """The columns of ``Perception`` that a signature needs."""

    key: str
    vector: bytes


@dataclass(frozen=True)
class _EncodedPhoto:
    """A photo with its vector, fp16 [D]."""

    photo: _Photo
    vector: bytes


class Dedup(Stage[_EncodedPhoto]):
    """Computes signatures early, so that each photograph is read once, however often ``build`` is run."""

    name = "dedup"
    version = 2  # 2: vectors come from perceive
    upstream = ("ingest", PERCEIVED_PHOTOS)
    reads = MappingProxyType({"ingest": (_Photo, ImageBytes), PERCEIVED_PHOTOS: (_Vector,)})
    record = Signature
    micro_batch = 8

    def settings(self) -> JsonObject:
        return {}

    def tasks(self, shard: Shard) -> list[Task[_EncodedPhoto]]:
        vectors = {row.key: row.vector for row in shard.rows(PERCEIVED_PHOTOS, _Vector)}
        photos = [photo for photo in shard.rows("ingest", _Photo) if photo.key in vectors]
        return [Task(photo.key, _EncodedPhoto(photo, vectors[photo.key])) for photo in photos]

    def run(self, tasks: Sequence[Task[_EncodedPhoto]], shard: Shard) -> list[Outcome]:
        return [Outcome.kept(self._signature(task.payload, shard)) for task in tasks]

    @staticmethod
    def _signature(item: _EncodedPhoto, shard: Shard) -> Signature:
        image = to_array(shard.image("ingest", item.photo.key))
        vector = np.frombuffer(item.vector, np.float16).astype(np.float32)
        return signature_of(item.photo.key, item.photo.uri, item.photo.split, image, vector)
