"""Out-paint: a diffusion model paints surroundings for each photo, whose own rectangle is then a known good crop."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from pipeline.core.geometry import BoxPx
from pipeline.core.json_types import JsonObject
from pipeline.core.records import PERCEIVED_PHOTOS, Canvas, ImageBytes
from pipeline.core.seeds import seed_for
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, SplitStage, Task
from stages.backends.base.picture import soft_mask, unpack_mask
from stages.backends.base.protocols import Composer, Declined, Labels, Outpainter, PaintRequest
from stages.canvases.paint_checks import PaintCheckSettings, measure
from stages.canvases.placement import Placement, PlacementSettings, place
from stages.canvases.seam_treatment import SeamSettings, enlarged, treat
from stages.photos.decode import encode_jpeg, to_array


class OutpaintSettings(Settings):
    """Settings of the canvases.

    Args:
        variants: canvases of each photo in the train split.
        held_out_variants: canvases of each photo in other splits.
        long_side: of the canvas, in pixels.
        micro_batch: canvases painted together.
        placement: where photos are placed on their canvas.
        seam: how the border of the photo is treated.
        checks: limits of the checks that reject a canvas.
    """

    variants: int = Field(4, ge=1, le=99)
    held_out_variants: int = Field(4, ge=1, le=99)
    long_side: int = Field(192, ge=64, le=8192)
    micro_batch: int = Field(4, ge=1)
    placement: PlacementSettings = PlacementSettings()
    seam: SeamSettings = SeamSettings()
    checks: PaintCheckSettings = PaintCheckSettings()


@dataclass(frozen=True)
class _Decoded:
    """A decoded photo uint8 [H, W, 3], its soft subject mask [S, S], and its regions [H, W] where a painter is shown them."""

    image: NDArray[np.uint8]
    mask: NDArray[np.float32]
    regions: Labels | None


@dataclass(frozen=True)
class _Prepared:
    """One canvas before painting. request: at the scale that it is painted at; drawn, subject_box: as it is stored."""

    request: PaintRequest
    drawn: Placement
    subject_box: BoxPx | None


@dataclass(frozen=True)
class _Photo:
    """The columns of ``Photo`` that are needed. Credits are none of them: ``build`` takes those from ``ingest``."""

    key: str
    split: str


@dataclass(frozen=True)
class _Prompts:
    """The columns of ``Caption`` that are needed."""

    key: str
    beyond: str
    negative: str


@dataclass(frozen=True)
class _Mask:
    """The columns of ``Perception`` that are needed."""

    key: str
    mask: bytes


@dataclass(frozen=True)
class _Variant:
    """One canvas to make: of which photo, with which prompts, and its number among the canvases of that photo."""

    photo: _Photo
    mask: bytes
    caption: _Prompts
    number: int


class Outpaint(SplitStage[_Variant, Sequence[_Prepared], Sequence[NDArray[np.uint8] | Declined]]):
    """Draws a placement, paints, treats the seam and checks the canvas; the placement's box is the pseudo-label."""

    name = "outpaint"
    version = 3  # 2: masks come from perceive; 3: no credits in its rows
    upstream = ("ingest", PERCEIVED_PHOTOS, "caption")
    reads = MappingProxyType({"ingest": (_Photo, ImageBytes), PERCEIVED_PHOTOS: (_Mask,), "caption": (_Prompts,)})
    record = Canvas
    reasons = ("blank", "seam_visible", "repeats_photo", "unsafe")
    extensions = ("jpg",)

    def __init__(self, settings: OutpaintSettings, outpainter: Outpainter, composer: Composer | None = None) -> None:
        """composer: finds the photo's regions, for out-painters that are steered by them."""
        self._settings = settings
        self._composer = composer
        self._outpainter = outpainter
        self.micro_batch = settings.micro_batch

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        composer = {"composer": self._composer.digest} if self._composer else {}
        return {"outpainter": self._outpainter.digest, **composer}

    def tasks(self, shard: Shard) -> list[Task[_Variant]]:
        captions = {caption.key: caption for caption in shard.rows("caption", _Prompts)}
        masks = {row.key: row.mask for row in shard.rows(PERCEIVED_PHOTOS, _Mask)}
        tasks = []
        for photo in shard.rows("ingest", _Photo):
            if photo.key not in masks or photo.key not in captions:
                continue  # it failed in a stage before this one
            held_out = photo.split != "train"
            count = self._settings.held_out_variants if held_out else self._settings.variants
            for number in range(count):
                variant = _Variant(photo, masks[photo.key], captions[photo.key], number)
                tasks.append(Task(f"{photo.key}-{number:02d}", variant))
        return tasks

    def prepare(self, tasks: Sequence[Task[_Variant]], shard: Shard) -> list[_Prepared]:
        @cache
        def photo(key: str, mask: bytes) -> _Decoded:
            return self._read(shard, key, mask)

        return [
            self._prepare(task.payload, photo(task.payload.photo.key, task.payload.mask), shard.run_seed)
            for task in tasks
        ]

    def compute(self, prepared: Sequence[_Prepared]) -> Sequence[NDArray[np.uint8] | Declined]:
        return self._outpainter.paint([item.request for item in prepared])

    def finish(
        self,
        tasks: Sequence[Task[_Variant]],
        prepared: Sequence[_Prepared],
        computed: Sequence[NDArray[np.uint8] | Declined],
    ) -> list[Outcome]:
        return [self._finish(task, item, image) for task, item, image in zip(tasks, prepared, computed, strict=True)]

    def _read(self, shard: Shard, key: str, mask: bytes) -> _Decoded:
        image = to_array(shard.image("ingest", key))
        regions = self._composer.regions([image])[0] if self._composer else None
        return _Decoded(image, soft_mask(unpack_mask(mask)), regions)

    def _prepare(self, variant: _Variant, photo: _Decoded, run_seed: int) -> _Prepared:
        key, number = variant.photo.key, variant.number
        image, mask = photo.image, photo.mask
        drawn = place(
            (image.shape[1], image.shape[0]), self._settings.long_side, self._settings.placement,
            seed_for(run_seed, "placement", key, number),
        )  # fmt: skip
        box_px, size = enlarged(drawn.box_px, drawn.size, self._settings.seam.scale)
        w, h = box_px[2] - box_px[0], box_px[3] - box_px[1]
        subject = np.asarray(Image.fromarray(mask).resize((w, h), Image.Resampling.BILINEAR))
        request = PaintRequest(
            photo=np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.LANCZOS)),
            subject=subject,
            box_px=box_px,
            size=size,
            seed=seed_for(run_seed, self.name, key, number),
            prompt=variant.caption.beyond,
            negative_prompt=variant.caption.negative,
            regions=photo.regions,
        )
        return _Prepared(request, drawn, _subject_box(mask, drawn))

    def _finish(self, task: Task[_Variant], item: _Prepared, painted: NDArray[np.uint8] | Declined) -> Outcome:
        request, seam = item.request, self._settings.seam
        if isinstance(painted, Declined):
            return Outcome.rejected(task.key, painted.reason, painted.detail, self._record(task, item))
        canvas = treat(painted, request.photo, request.box_px, seam, size=item.drawn.size, seed=request.seed)
        record = self._record(task, item)
        checks = self._settings.checks
        measured = measure(canvas, item.drawn.box_px, item.subject_box, mirrored=checks.mirror_in_use)
        bad = measured.reject(checks)
        files = {"jpg": encode_jpeg(Image.fromarray(canvas), seam.jpeg_quality)}
        return Outcome.rejected(task.key, *bad, record, files) if bad else Outcome.kept(record, files)

    def _record(self, task: Task[_Variant], item: _Prepared) -> Canvas:
        photo, request = task.payload.photo, item.request
        return Canvas(
            key=task.key,
            photo=photo.key,
            variant=task.payload.number,
            width=item.drawn.size[0],
            height=item.drawn.size[1],
            photo_box=list(item.drawn.box_px),
            subject_box=list(item.subject_box or ()),
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            seed=request.seed,
            outpainter=f"{self._outpainter.name}@{self._outpainter.digest}",
            seam=self._settings.seam.words,
            split=photo.split,
        )


def _subject_box(mask: NDArray[np.float32], drawn: Placement) -> BoxPx | None:
    """Bounds on the canvas of a photo's mask above one half; None without a subject."""
    x1, y1, x2, y2 = drawn.box_px
    mask = np.asarray(Image.fromarray(mask).resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR))
    rows, columns = np.nonzero(mask > 0.5)
    if not len(rows):
        return None
    x, y = drawn.box_px[:2]
    return (x + int(columns.min()), y + int(rows.min()), x + int(columns.max()) + 1, y + int(rows.max()) + 1)
