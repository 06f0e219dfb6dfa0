"""Filter: the verdict on each canvas and at most m distinct crops of it.

Crops are compared with the pseudo-label of their own canvas, because scores of one picture compare better than scores of
two; canvases are compared with the run.
"""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from pipeline.core.geometry import Box, aspect, cover, is_distinct
from pipeline.core.json_types import JsonObject
from pipeline.core.records import PERCEIVED_CANVASES, CanvasSize, Crops, Refined
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Tables, Task
from stages.backends.base.picture import unpack_mask
from stages.canvases.subject_mask_grid import SubjectGrid

CALIBRATION = "calibration.json"


class FilterSettings(Settings):
    """Rules for canvases and their crops.

    Args:
        crop_margin: crops that score this much less than the pseudo-label of their canvas, or even less, are dropped; in points
            of 0..10.
        crop_quantile: crops that score under this quantile of the run's crops are dropped as well; 0 drops none.
        canvas_quantile: canvases whose pseudo-label scores under this quantile of the run's pseudo-labels are rejected.
        max_crops: crops kept beside the pseudo-label, at most.
        min_crops: a canvas with fewer crops beside the pseudo-label is rejected.
        distinct_iou: kept crops overlap with an IoU below this.
        min_cover: least share of the pseudo-label that a crop covers.
        aspects: aspect ratios, long over short side.
        aspect_tolerance: largest distance of a crop to a ratio of ``aspects``.
        min_subject: least share of the subject that a crop keeps.
        min_own_subject: of all that looks like a subject on the canvas, the least share inside the photo; below it the paint
            invented something bigger.
        max_cut_subject: largest share of the subject that the photo's frame cuts off.
    """

    crop_margin: float = Field(1.5, ge=0, le=10)
    crop_quantile: float = Field(0.0, ge=0, le=1)
    canvas_quantile: float = Field(0.03, ge=0, le=1)
    max_crops: int = Field(4, ge=0, le=64)
    min_crops: int = Field(0, ge=0, le=64)
    distinct_iou: float = Field(0.8, gt=0, le=1)
    min_cover: float = Field(0.7, ge=0, le=1)
    aspects: tuple[float, ...] = (1.0, 1.25, 1.3333, 1.4, 1.5, 1.7778)
    aspect_tolerance: float = Field(0.03, gt=0)
    min_subject: float = Field(0.8, ge=0, le=1)
    min_own_subject: float = Field(0.5, ge=0, le=1)
    max_cut_subject: float = Field(0.35, ge=0, le=1)


@dataclass(frozen=True)
class _Mask:
    """The columns of ``Perception`` that are needed."""

    key: str
    mask: bytes


@dataclass(frozen=True)
class _Refinement:
    """What the last round made of a canvas, and the canvas's subject mask (``Perception.mask``)."""

    boxes: Refined
    canvas: CanvasSize
    mask: bytes


class Filter(Stage[_Refinement]):
    """Calibrates its thresholds in the prologue, then judges one canvas a task."""

    name = "filter"
    version = 3  # 3: masks come from perceive
    record = Crops
    reasons = ("low_score", "no_distinct_crop", "subject_cut", "bad_outpaint")
    micro_batch = 256
    prologue_needed = True

    def __init__(self, settings: FilterSettings, last_round: str) -> None:
        self._settings = settings
        self._last = last_round
        self.upstream = ("outpaint", PERCEIVED_CANVASES, last_round)
        self.reads = {"outpaint": (CanvasSize,), PERCEIVED_CANVASES: (_Mask,), last_round: (Refined,)}

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def prologue(self, tables: Tables) -> Iterator[tuple[str, bytes]]:
        """Thresholds from the score distributions of the whole run."""
        labels, crops = array("f"), array("f")  # scorers give float32, so nothing is lost
        for shard in tables.shards(self._last):
            column = tables.columns(self._last, shard, ["scores"])["scores"].combine_chunks()
            first, lengths = column.offsets.to_numpy(), column.value_lengths().to_numpy()
            values = column.values.to_numpy().astype(np.float32)
            is_label = np.zeros(len(values), bool)
            is_label[first[:-1][lengths > 0]] = True
            labels.frombytes(values[is_label].tobytes())
            crops.frombytes(values[~is_label].tobytes())
        calibration = {
            "canvas_threshold": quantile(labels, self._settings.canvas_quantile),
            "crop_threshold": quantile(crops, self._settings.crop_quantile),
            "canvases": len(labels),
            "crops": len(crops),
        }
        yield CALIBRATION, json.dumps(calibration, indent=1, sort_keys=True).encode()

    def tasks(self, shard: Shard) -> list[Task[_Refinement]]:
        canvases = {canvas.key: canvas for canvas in shard.rows("outpaint", CanvasSize)}
        masks = {row.key: row.mask for row in shard.rows(PERCEIVED_CANVASES, _Mask)}
        return [
            Task(refined.key, _Refinement(refined, canvases[refined.key], masks[refined.key]))
            for refined in shard.rows(self._last, Refined)
        ]

    def run(self, tasks: Sequence[Task[_Refinement]], shard: Shard) -> list[Outcome]:
        calibration = json.loads(shard.shared(CALIBRATION))
        return [self._judge(task, calibration) for task in tasks]

    def _judge(self, task: Task[_Refinement], calibration: dict[str, float]) -> Outcome:
        row, canvas = task.payload.boxes, task.payload.canvas
        kept = SubjectGrid(unpack_mask(task.payload.mask), canvas.width, canvas.height).kept(row.boxes)
        crops = self._crops(row, kept, calibration["crop_threshold"])
        reason = self._reason(row, kept[0], len(crops) - 1, calibration["canvas_threshold"])
        record = Crops(
            key=row.key,
            photo=row.photo,
            boxes=[row.boxes[i] for i in crops],
            origins=[row.origins[i] for i in crops],
            scores=[row.scores[i] for i in crops],
            best_score=max(row.scores),
        )
        return Outcome.rejected(task.key, *reason, record) if reason else Outcome.kept(record)

    def _reason(self, row: Refined, own: float, crops: int, threshold: float) -> tuple[str, str] | None:
        s = self._settings
        if own < s.min_own_subject:
            return "bad_outpaint", f"{1 - own:.2f} of what looks like a subject was invented outside the photo"
        if 1 - own > s.max_cut_subject:
            return "subject_cut", f"the photo's frame cuts off {1 - own:.2f} of the subject"
        if row.scores[0] < threshold:
            return "low_score", f"pseudo-label scores {row.scores[0]:.2f}, under {threshold:.2f}"
        if crops < s.min_crops:
            return "no_distinct_crop", f"{crops} crops beside the pseudo-label, want {s.min_crops}"
        return None

    def _crops(self, row: Refined, kept: Sequence[float], threshold: float) -> list[int]:
        """Indices of the crops to keep: the pseudo-label, then the best that pass every rule."""
        s, label = self._settings, row.boxes[0]
        threshold = max(threshold, row.scores[0] - s.crop_margin)
        chosen = [0]
        for i in sorted(range(1, len(row.boxes)), key=lambda i: -row.scores[i]):
            if len(chosen) > s.max_crops or row.scores[i] < threshold:
                break
            box = row.boxes[i]
            good = kept[i] >= s.min_subject and cover(label, box) >= s.min_cover and self._has_known_aspect(box)
            if good and is_distinct(box, [row.boxes[j] for j in chosen], s.distinct_iou):
                chosen.append(i)
        return chosen

    def _has_known_aspect(self, box: Box) -> bool:
        """Whether long over short is near a ratio of the set; whole pixels of a small canvas count as half a pixel off."""
        ratio = aspect(box)
        ratio = max(ratio, 1 / ratio)
        slack = self._settings.aspect_tolerance + ratio / min(box[2] - box[0], box[3] - box[1])
        return any(abs(ratio - known) <= slack for known in self._settings.aspects)


def quantile(values: "array[float]", share: float) -> float:
    """A quantile, linear between neighbours, found in place: the order of ``values`` changes.

    Minus infinity would not be JSON, so an empty run gets 0.
    """
    if not len(values):
        return 0.0
    array = np.frombuffer(values, np.float32)
    at = share * (len(array) - 1)
    low = min(int(at), len(array) - 1)
    high = min(low + 1, len(array) - 1)
    array.partition((low, high))
    return float(array[low]) + (float(array[high]) - float(array[low])) * (at - low)
