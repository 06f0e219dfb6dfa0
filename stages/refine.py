"""Refine: a round scores boxes, keeps the best distinct, moves them locally and scores again.

Each round is a new version of the labels with its gain on record; the pseudo-label is never altered. Scores come from the
aesthetic scorer, not from a detector trained on these labels, which would only confirm itself. A trained cropper may add candidates
to the first round (``cropper``): its boxes join the proposals, and the scorer judges them together with the rest.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny

from pipeline.core.geometry import Box, cover, shift_inside, snap_aspect, whole_pixels
from pipeline.core.json_types import JsonObject
from pipeline.core.records import PERCEIVED_CANVASES, Boxes, CanvasSize, ImageBytes, Proposals, Refined
from pipeline.core.seeds import seed_for
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.backends.base.picture import LazyPicture, unpack_maps, unpack_mask
from stages.backends.base.plugin_models import PluginSettings, plugin_only
from stages.backends.base.protocols import BoxProposer, Scorer
from stages.backends.proposers.cropper import CropperBoxes
from stages.canvases.canvas_faces import CanvasFaces
from stages.canvases.distinct_boxes import choose_distinct
from stages.canvases.subject_mask_grid import SubjectGrid
from stages.photos.decode import to_array

CROPPER = "cropper"  # origin of a trained cropper's boxes
SAME_IOU = 0.95  # as propose.distinct_iou: a cropper's box that overlaps a proposal so much adds nothing to score


class RefineSettings(Settings):
    """Settings of all rounds.

    Args:
        rounds: number of rounds.
        beam: best distinct boxes that a round keeps beside the pseudo-label.
        moves: local moves tried for each box.
        step: largest move in round 1, as a share of the box; halved each round.
        min_gain: a canvas whose round gained less (mean score of the beam, 0..10) is left unchanged by later rounds.
        distinct_iou: boxes of the beam, the pseudo-label among them, overlap with an IoU below this.
        min_subject: least share of the subject that a moved box, or a box of the cropper, keeps.
        min_cover: least share of the pseudo-label that a box of the beam covers, as in ``FilterSettings``: without it the
            search ends at the best-scored place of the whole canvas, which may be paint, and ``filter`` drops what it gave.
        aspects: width over height that moves snap to, used as they are and inverted.
        cropper: folder of a trained cropper whose boxes join the first round; "" for none.
        cropper_boxes: number of its best boxes.
        proposer: plug-in whose boxes join the first round in place of a cropper's.
        micro_batch: canvases scored together.
    """

    rounds: int = Field(3, ge=1, le=20)
    beam: int = Field(8, ge=1)
    moves: int = Field(6, ge=1)
    step: float = Field(0.12, gt=0, le=0.5)
    min_gain: float = Field(0.05, ge=0)
    distinct_iou: float = Field(0.8, gt=0, le=1)
    min_subject: float = Field(0.8, ge=0, le=1)
    min_cover: float = Field(0.7, ge=0, le=1)
    aspects: tuple[float, ...] = (1.0, 1.25, 1.3333, 1.4, 1.5, 1.7778)
    cropper: str = ""
    cropper_boxes: int = Field(8, ge=1)
    proposer: Annotated[SerializeAsAny[PluginSettings] | None, plugin_only("proposer")] = None
    micro_batch: int = Field(8, ge=1)

    def box_proposer(self) -> BoxProposer | None:
        """The plug-in or cropper that adds candidates; nothing is loaded yet."""
        if self.proposer is not None:
            return cast(BoxProposer, self.proposer.build())
        return CropperBoxes(self.cropper, self.cropper_boxes) if self.cropper else None


@dataclass(frozen=True)
class Scored:
    """A box, where it came from, and its score."""

    box: tuple[float, ...]
    origin: str
    score: float


@dataclass(frozen=True)
class _Perceived:
    """The columns of ``Perception`` that are needed."""

    key: str
    mask: bytes
    maps: bytes
    map_names: list[str]
    map_shapes: list[int]
    faces: Boxes = field(default_factory=list)


@dataclass(frozen=True)
class _Candidates:
    """The boxes of a canvas as a round finds them, and what was perceived of it."""

    boxes: Refined
    canvas: CanvasSize
    perceived: _Perceived

    @property
    def subject(self) -> SubjectGrid:
        """Subject mass of the canvas."""
        return SubjectGrid(unpack_mask(self.perceived.mask), self.canvas.width, self.canvas.height)

    def cut(self, boxes: Sequence[Box]) -> list[bool]:
        """Whether each box, in pixels, cuts a head."""
        return CanvasFaces(self.perceived.faces, (self.canvas.width, self.canvas.height)).cut(boxes)

    def picture(self, shard: Shard) -> LazyPicture:
        """The canvas as a scorer takes it; its pixels are read only if the scorer needs them."""
        size, key = (self.canvas.width, self.canvas.height), self.canvas.key
        return LazyPicture(
            size,
            lambda: to_array(shard.image("outpaint", key)),
            unpack_mask(self.perceived.mask),
            unpack_maps(self.perceived),
        )


def round_name(number: int) -> str:
    """The folder of a round."""
    return f"refine/round-{number:02d}"


class RefineRound(Stage[_Candidates]):
    """One round; a run has ``settings.rounds`` of them, each reading the one before."""

    version = 4  # 3: masks and the scorer's maps come from perceive; 4: no box cuts a head
    record = Refined

    def __init__(
        self, number: int, settings: RefineSettings, scorer: Scorer, cropper: BoxProposer | None = None
    ) -> None:
        """cropper: adds candidates to the first round; later ones only see what became of them."""
        self.name = round_name(number)
        self._previous = "propose" if number == 1 else round_name(number - 1)
        self.upstream = ("outpaint", PERCEIVED_CANVASES, self._previous)
        self.reads = {
            "outpaint": (CanvasSize, ImageBytes), PERCEIVED_CANVASES: (_Perceived,),
            self._previous: (Proposals if number == 1 else Refined,),
        }  # fmt: skip
        self.round = number
        self._settings = settings
        self._scorer = scorer
        self._cropper = cropper if number == 1 else None
        self.micro_batch = settings.micro_batch

    def settings(self) -> JsonObject:
        # Where the cropper lies shapes nothing, its digest is among the models; without one, no number of its boxes does either.
        apart = {"rounds", "cropper", "proposer"} | (set() if self._cropper is not None else {"cropper_boxes"})
        return self._settings.model_dump(mode="json", exclude=apart)

    def models(self) -> dict[str, str]:
        cropper = {} if self._cropper is None else {"cropper": self._cropper.digest}
        return {"scorer": self._scorer.digest, **cropper}

    def tasks(self, shard: Shard) -> list[Task[_Candidates]]:
        canvases = {canvas.key: canvas for canvas in shard.rows("outpaint", CanvasSize)}
        perceived = {row.key: row for row in shard.rows(PERCEIVED_CANVASES, _Perceived)}
        if self.round == 1:
            before = [_unscored(row, self._settings.min_cover) for row in shard.rows("propose", Proposals)]
        else:
            before = shard.rows(self._previous, Refined)
        return [Task(row.key, _Candidates(row, canvases[row.key], perceived[row.key])) for row in before]

    def run(self, tasks: Sequence[Task[_Candidates]], shard: Shard) -> list[Outcome]:
        active = [task for task in tasks if task.payload.boxes.active]
        pictures = [task.payload.picture(shard) for task in active]
        before = self._known(active, pictures)
        moved = [list(self._moves(task, known, shard.run_seed)) for task, known in zip(active, before, strict=True)]
        scores = self._scorer.score(pictures, [_array([box for box, _ in boxes]) for boxes in moved])
        done = {}
        for task, known, boxes, values in zip(active, before, moved, scores, strict=True):
            fresh = [Scored(box, origin, float(v)) for (box, origin), v in zip(boxes, values, strict=True)]
            after = self._select([*known, *fresh])
            # A new best box can push two good ones out of the beam; a round never makes labels worse.
            better = after if _mean_score(after) > _mean_score(known) else known
            done[task.key] = self._record(task.payload.boxes, known, better)
        return [Outcome.kept(done.get(task.key) or _carried(task.payload.boxes, self.round)) for task in tasks]

    def _known(self, tasks: Sequence[Task[_Candidates]], pictures: Sequence[LazyPicture]) -> list[list[Scored]]:
        """The beam before this round: the last one's, or the best of the proposals."""
        rows = [task.payload.boxes for task in tasks]
        if self._cropper is not None:
            rows = self._with_cropper(self._cropper, tasks, pictures)
        if self.round > 1:
            return [_scored(row, row.scores) for row in rows]
        scores = self._scorer.score(pictures, [_array(row.boxes) for row in rows])
        return [
            self._select(_scored(row, [float(v) for v in values])) for row, values in zip(rows, scores, strict=True)
        ]

    def _with_cropper(
        self, cropper: BoxProposer, tasks: Sequence[Task[_Candidates]], pictures: Sequence[LazyPicture]
    ) -> list[Refined]:
        """The rows of the proposals with the cropper's boxes after them, but for those that are there, or lose subject or head."""
        rows = [task.payload.boxes for task in tasks]
        proposed_boxes = cropper.propose([picture.image for picture in pictures], [{row.photo} for row in rows])
        joined = []
        for task, row, proposed in zip(tasks, rows, proposed_boxes, strict=True):
            canvas = task.payload.canvas
            size = (canvas.width, canvas.height)
            whole = [whole_pixels(box, size) for box in proposed.tolist()]
            whole = [box for box, cut in zip(whole, task.payload.cut(whole), strict=True) if not cut]
            kept = task.payload.subject.kept(whole) if whole else []
            fit = [box for box, share in zip(whole, kept, strict=True) if self._is_valid(row.boxes[0], box, share)]
            known = len(row.boxes)
            fresh = [fit[i - known] for i in choose_distinct([*map(tuple, row.boxes), *fit], SAME_IOU) if i >= known]
            boxes = [*row.boxes, *map(list, fresh)]
            joined.append(replace(row, boxes=boxes, origins=[*row.origins, *[CROPPER] * len(fresh)]))
        return joined

    def _select(self, boxes: Sequence[Scored]) -> list[Scored]:
        """The pseudo-label, then the best distinct boxes, best first; ties go to the one found first."""
        ranked = [boxes[0], *sorted(boxes[1:], key=lambda item: -item.score)]
        chosen = choose_distinct([item.box for item in ranked], self._settings.distinct_iou, self._settings.beam + 1)
        return [ranked[i] for i in chosen]

    def _is_valid(self, label: Box, box: Box, subject_kept: float) -> bool:
        return subject_kept >= self._settings.min_subject and cover(label, box) >= self._settings.min_cover

    def _moves(
        self, task: Task[_Candidates], beam: Sequence[Scored], run_seed: int
    ) -> Iterator[tuple[tuple[float, ...], str]]:
        """Local moves of each beam box, the pseudo-label's among them, that keep subject and heads and cover the pseudo-label."""
        canvas = task.payload.canvas
        size = (canvas.width, canvas.height)
        rng = random.Random(seed_for(run_seed, self.name, task.key))
        step = self._settings.step / 2 ** (self.round - 1)
        ratios = sorted({*self._settings.aspects, *(1 / a for a in self._settings.aspects)})
        tried = [
            (_moved(item.box, size, step, ratios, rng), item.origin)
            for item in beam for _ in range(self._settings.moves)
        ]  # fmt: skip
        boxes = [box for box, _ in tried]
        kept, cut = task.payload.subject.kept(boxes), task.payload.cut(boxes)
        for (box, origin), share, cuts_head in zip(tried, kept, cut, strict=True):
            if self._is_valid(beam[0].box, box, share) and not cuts_head:
                yield box, origin if origin.endswith("+moved") else f"{origin}+moved"

    def _record(self, row: Refined, before: Sequence[Scored], after: Sequence[Scored]) -> Refined:
        gain = _mean_score(after) - _mean_score(before)
        return Refined(
            key=row.key,
            photo=row.photo,
            round=self.round,
            boxes=[list(item.box) for item in after],
            origins=[item.origin for item in after],
            scores=[item.score for item in after],
            gain=gain,
            active=gain >= self._settings.min_gain,
        )


def _mean_score(beam: Sequence[Scored]) -> float:
    """Mean over the beam without the pseudo-label; the pseudo-label's own score when it stands alone."""
    return float(np.mean([item.score for item in beam[1:] or beam]))


def _unscored(row: Proposals, min_cover: float) -> Refined:
    """The proposals of a canvas that cover its pseudo-label as round 0, without scores."""
    valid = [i for i, box in enumerate(row.boxes) if cover(row.boxes[0], box) >= min_cover]
    boxes, origins = [row.boxes[i] for i in valid], [row.origins[i] for i in valid]
    return Refined(row.key, row.photo, 0, boxes, origins, [], gain=0.0, active=True)


def _carried(row: Refined, number: int) -> Refined:
    """A canvas that has converged goes through a round unchanged."""
    return replace(row, round=number, gain=0.0, active=False)


def _scored(row: Refined, scores: Sequence[float]) -> list[Scored]:
    return [
        Scored(tuple(box), origin, float(score))
        for box, origin, score in zip(row.boxes, row.origins, scores, strict=True)
    ]


def _array(boxes: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def _moved(
    box: Box, size: tuple[int, int], step: float, ratios: Sequence[float], rng: random.Random
) -> tuple[float, ...]:
    """A box shifted and resized by up to ``step``, snapped to the nearest of the aspect ratios, in whole pixels."""
    w, h = box[2] - box[0], box[3] - box[1]
    dx, dy, dw, dh = (rng.uniform(-step, step) for _ in range(4))
    cx, cy, w, h = (box[0] + box[2]) / 2 + dx * w, (box[1] + box[3]) / 2 + dy * h, w * (1 + dw), h * (1 + dh)
    ratio = min(ratios, key=lambda r: abs(math.log(r * h / w)))
    fitted = snap_aspect(shift_inside((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), *size), ratio, *size)
    return tuple(float(round(v)) for v in fitted)
