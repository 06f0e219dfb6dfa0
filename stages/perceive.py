"""Perceive: what the models see of each photo and of each canvas, computed once for all later stages.

The segmenter, the encoder and the part of the scorer that depends on the picture alone cost many times what is done with their
output. So they see each picture here, and later stages read the result from this table instead of the pixels: `outpaint` the
photo's mask, `dedup` its vector; `propose`, each round of `refine` and `filter` the canvas's mask, `refine` the scorer's maps;
`embed` vectors and tokens; `audit paint` the masks. There are two stages with this verb, since canvases are painted from what was
perceived of their photos: `perceive/photos` and `perceive/canvases`.

Another model of whole pictures (a face detector, say) belongs here too: its output becomes a field of ``Perception``, computed in
``compute`` and packed in ``_record``; its digest joins ``models``. What it rejects becomes a word of ``reasons``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.json_types import JsonObject
from pipeline.core.records import CANVAS, PERCEIVED_CANVASES, PERCEIVED_PHOTOS, PHOTO, Perception
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, SplitStage, Task
from stages.backends.base.picture import Maps, MaskGrid, mask_grid, pack_maps
from stages.backends.base.protocols import Encoded, Encoder, Perceiving, Scorer, Segmenter
from stages.backends.scorers.perceiving import maps_digest_of
from stages.photos.decode import to_array

Images = Sequence[NDArray[np.uint8]]


class PerceiveSettings(Settings):
    """Settings of the models' batches.

    Args:
        micro_batch: pictures decoded and perceived together.
    """

    micro_batch: int = Field(8, ge=1)


@dataclass(frozen=True)
class _Photo:
    """The columns of ``Photo`` that are needed."""

    key: str


@dataclass(frozen=True)
class _Canvas:
    """The columns of ``Canvas`` that are needed."""

    key: str
    photo: str


@dataclass(frozen=True)
class _Perceived:
    """What the models return for one picture."""

    mask: MaskGrid
    encoded: Encoded
    maps: Maps


class Perceive(SplitStage[str, Images, Sequence[_Perceived]]):
    """Segments and encodes the photos or canvases of a shard. A task's payload is the key of the photo.

    Args:
        kind: ``PHOTO`` or ``CANVAS``.
        settings: of the batches.
        segmenter: of the masks.
        encoder: of vectors and tokens.
        scorer: whose maps of canvases are stored, if it has any; photos are not scored.
    """

    version = 1
    record = Perception

    def __init__(
        self,
        kind: str,
        settings: PerceiveSettings,
        segmenter: Segmenter,
        encoder: Encoder,
        scorer: Scorer | None = None,
    ) -> None:
        self.kind = kind
        self.name = {PHOTO: PERCEIVED_PHOTOS, CANVAS: PERCEIVED_CANVASES}[kind]
        self.upstream = ({PHOTO: "ingest", CANVAS: "outpaint"}[kind],)
        self.micro_batch = settings.micro_batch
        self._settings = settings
        self._segmenter = segmenter
        self._encoder = encoder
        self._scorer = scorer

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        maps = maps_digest_of(self._scorer) if self._scorer else ""
        scorer = {"scorer": maps} if maps else {}
        return {"segmenter": self._segmenter.digest, "encoder": self._encoder.digest, **scorer}

    def tasks(self, shard: Shard) -> list[Task[str]]:
        (source,) = self.upstream
        if self.kind == PHOTO:
            return [Task(photo.key, photo.key) for photo in shard.rows(source, _Photo)]
        return [Task(canvas.key, canvas.photo) for canvas in shard.rows(source, _Canvas)]

    def prepare(self, tasks: Sequence[Task[str]], shard: Shard) -> Images:
        return [to_array(shard.image(self.upstream[0], task.key)) for task in tasks]

    def compute(self, prepared: Images) -> list[_Perceived]:
        masks = [mask_grid(mask) for mask in self._segmenter.network_masks(prepared)]
        encoded = self._encoder.encode(prepared)
        maps: list[Maps] = [{} for _ in prepared]
        if isinstance(self._scorer, Perceiving):
            maps = self._scorer.perceive(prepared, masks, self._segmenter.digest)
        return [_Perceived(*each) for each in zip(masks, encoded, maps, strict=True)]

    def finish(self, tasks: Sequence[Task[str]], prepared: Images, computed: Sequence[_Perceived]) -> list[Outcome]:
        return [Outcome.kept(self._record(task, seen)) for task, seen in zip(tasks, computed, strict=True)]

    def _record(self, task: Task[str], seen: _Perceived) -> Perception:
        maps, map_names, map_shapes = pack_maps(seen.maps)
        return Perception(
            key=task.key,
            photo=task.payload,
            kind=self.kind,
            mask=seen.mask.tobytes(),
            vector=seen.encoded.vector.astype(np.float16).tobytes(),
            tokens=seen.encoded.tokens.astype(np.float16).tobytes(),
            grid_h=seen.encoded.grid[0],
            grid_w=seen.encoded.grid[1],
            maps=maps,
            map_names=map_names,
            map_shapes=map_shapes,
        )
