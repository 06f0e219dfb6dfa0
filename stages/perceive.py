"""Perceive: what the models see of each photo and of each canvas, computed once for all later stages.

The segmenter, the encoder and the part of the scorer that depends on the picture alone cost many times what is done with their
output. So they see each picture here, and later stages read the result from this table instead of the pixels: `outpaint` the
photo's mask, `dedup` its vector; `propose`, each round of `refine` and `filter` the canvas's mask, `propose` and `refine` its
faces, `refine` the scorer's maps; `embed` vectors and tokens; `audit paint` the masks. There are two stages with this verb, since
canvases are painted from what was perceived of their photos: `perceive/photos` and `perceive/canvases`. A canvas on which the
painter invented a face is rejected here.

Another model of whole pictures belongs here too: its output becomes a field of ``Perception``, computed in
``compute`` and packed in ``_record``; its digest joins ``models``. What it rejects becomes a word of ``reasons``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.json_types import JsonObject
from pipeline.core.records import CANVAS, PERCEIVED_CANVASES, PERCEIVED_PHOTOS, PHOTO, Boxes, ImageBytes, Perception
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, SplitStage, Task
from stages.backends.base.picture import Maps, MaskGrid, mask_grid, pack_maps
from stages.backends.base.protocols import Encoded, Encoder, FaceFinder, Perceiving, Scorer, Segmenter
from stages.backends.scorers.perceiving import maps_digest_of
from stages.canvases.canvas_faces import invented_face
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
    width: int
    height: int
    photo_box: list[int]


@dataclass(frozen=True)
class Pictured:
    """A photo, or a canvas with its size and the rectangle of its photo in pixels, both empty for a photo."""

    photo: str
    size: tuple[int, int] = (0, 0)
    photo_box: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Perceived:
    """What the models return for one picture."""

    mask: MaskGrid
    encoded: Encoded
    maps: Maps
    faces: Boxes


class Perceive(SplitStage[Pictured, Images, Sequence[_Perceived]]):
    """Segments and encodes the photos or canvases of a shard, and finds their faces.

    Args:
        kind: ``PHOTO`` or ``CANVAS``.
        settings: of the batches.
        segmenter: of the masks.
        encoder: of vectors and tokens.
        scorer: whose maps of canvases are stored, if it has any; photos are not scored.
        faces: of the faces; None: none are found.
    """

    version = 2  # 2: faces
    record = Perception
    reasons = ("invented_face",)

    def __init__(
        self,
        kind: str,
        settings: PerceiveSettings,
        segmenter: Segmenter,
        encoder: Encoder,
        scorer: Scorer | None = None,
        faces: FaceFinder | None = None,
    ) -> None:
        self.kind = kind
        self.name = {PHOTO: PERCEIVED_PHOTOS, CANVAS: PERCEIVED_CANVASES}[kind]
        self.upstream = ({PHOTO: "ingest", CANVAS: "outpaint"}[kind],)
        self.reads = {self.upstream[0]: ({PHOTO: _Photo, CANVAS: _Canvas}[kind], ImageBytes)}
        self.micro_batch = settings.micro_batch
        self._settings = settings
        self._segmenter = segmenter
        self._encoder = encoder
        self._scorer = scorer
        self._faces = faces

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        maps = maps_digest_of(self._scorer) if self._scorer else ""
        scorer = {"scorer": maps} if maps else {}
        faces = {"faces": self._faces.digest} if self._faces else {}
        return {"segmenter": self._segmenter.digest, "encoder": self._encoder.digest, **scorer, **faces}

    def tasks(self, shard: Shard) -> list[Task[Pictured]]:
        (source,) = self.upstream
        if self.kind == PHOTO:
            return [Task(photo.key, Pictured(photo.key)) for photo in shard.rows(source, _Photo)]
        return [
            Task(canvas.key, Pictured(canvas.photo, (canvas.width, canvas.height), tuple(canvas.photo_box)))
            for canvas in shard.rows(source, _Canvas)
        ]

    def prepare(self, tasks: Sequence[Task[Pictured]], shard: Shard) -> Images:
        return [to_array(shard.image(self.upstream[0], task.key)) for task in tasks]

    def compute(self, prepared: Images) -> list[_Perceived]:
        masks = [mask_grid(mask) for mask in self._segmenter.network_masks(prepared)]
        encoded = self._encoder.encode(prepared)
        maps: list[Maps] = [{} for _ in prepared]
        if isinstance(self._scorer, Perceiving):
            maps = self._scorer.perceive(prepared, masks, self._segmenter.digest)
        found = self._faces.detect(prepared) if self._faces is not None else [np.zeros((0, 5))] * len(prepared)
        faces: list[Boxes] = [np.round(rows.astype(float), 5).tolist() for rows in found]
        return [_Perceived(*each) for each in zip(masks, encoded, maps, faces, strict=True)]

    def finish(
        self, tasks: Sequence[Task[Pictured]], prepared: Images, computed: Sequence[_Perceived]
    ) -> list[Outcome]:
        return [self._outcome(task, seen) for task, seen in zip(tasks, computed, strict=True)]

    def _outcome(self, task: Task[Pictured], seen: _Perceived) -> Outcome:
        pictured, record = task.payload, self._record(task, seen)
        invented = invented_face(seen.faces, pictured.photo_box, pictured.size) if pictured.photo_box else None
        if invented is None:
            return Outcome.kept(record)
        detail = f"a face of score {invented[0]:.2f} outside the photo covers {invented[1]:.3f} of the canvas"
        return Outcome.rejected(task.key, "invented_face", detail, record)

    def _record(self, task: Task[Pictured], seen: _Perceived) -> Perception:
        maps, map_names, map_shapes = pack_maps(seen.maps)
        return Perception(
            key=task.key,
            photo=task.payload.photo,
            kind=self.kind,
            mask=seen.mask.tobytes(),
            vector=seen.encoded.vector.astype(np.float16).tobytes(),
            tokens=seen.encoded.tokens.astype(np.float16).tobytes(),
            grid_h=seen.encoded.grid[0],
            grid_w=seen.encoded.grid[1],
            maps=maps,
            map_names=map_names,
            map_shapes=map_shapes,
            faces=seen.faces,
        )
