"""Propose: candidate crops of each canvas from several sources, each with its origin; none may lose the subject or cut a head."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import Field

from pipeline.core.geometry import Box, area, aspect, shift_inside, snap_aspect, whole_pixels
from pipeline.core.json_types import JsonObject
from pipeline.core.records import PERCEIVED_CANVASES, Boxes, Proposals
from pipeline.core.seeds import seed_for
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.backends.base.picture import unpack_mask
from stages.canvases.canvas_faces import CanvasFaces
from stages.canvases.distinct_boxes import choose_distinct
from stages.canvases.subject_mask_grid import SubjectGrid

PHOTO = "photo"
GRID_BINS = 12  # anchors of GAIC (Zeng et al. 2019): corners at bin centres of a 12 x 12 grid ...
GRID_REACH = 4  # ... in the outer 4 bins of each side


class ProposeSettings(Settings):
    """Number of boxes by origin, and what they must keep.

    Args:
        jitter: copies of the pseudo-label, moved and resized.
        jitter_share: largest move and resize of such a copy, as a share of the pseudo-label.
        grid: GAIC anchors (12 x 12 bins, corners in the outer 4, area above half, aspect 0.5 to 2), drawn by seed.
        subject: boxes that put the centre of the subject on a third or in the middle.
        aspects: width over height, used as they are and inverted.
        min_subject: least share of the subject that a box keeps.
        distinct_iou: of boxes that overlap with an IoU of this or more, the first is kept.
        micro_batch: canvases whose boxes are proposed together.
    """

    jitter: int = Field(16, ge=0)
    jitter_share: float = Field(0.12, gt=0, le=0.5)
    grid: int = Field(24, ge=0)
    subject: int = Field(18, ge=0)
    aspects: tuple[float, ...] = (1.0, 1.25, 1.3333, 1.4, 1.5, 1.7778)
    min_subject: float = Field(0.8, ge=0, le=1)
    distinct_iou: float = Field(0.95, gt=0, le=1)
    micro_batch: int = Field(64, ge=1)


@dataclass(frozen=True)
class _Canvas:
    """The columns of ``Canvas`` that are needed."""

    key: str
    photo: str
    width: int
    height: int
    photo_box: list[int]
    subject_box: list[int]


@dataclass(frozen=True)
class _Perceived:
    """The columns of ``Perception`` that are needed."""

    key: str
    mask: bytes
    faces: Boxes = field(default_factory=list)


@dataclass(frozen=True)
class _SeenCanvas:
    """A canvas and what was perceived of it."""

    canvas: _Canvas
    perceived: _Perceived


class Propose(Stage[_SeenCanvas]):
    """Gives the candidate crops of each canvas: the pseudo-label, then distinct ones that keep the subject and cut no head."""

    name = "propose"
    version = 3  # 2: masks come from perceive; 3: no proposal cuts a head
    upstream = ("outpaint", PERCEIVED_CANVASES)
    reads = MappingProxyType({"outpaint": (_Canvas,), PERCEIVED_CANVASES: (_Perceived,)})
    record = Proposals

    def __init__(self, settings: ProposeSettings) -> None:
        self._settings = settings
        self.micro_batch = settings.micro_batch

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def tasks(self, shard: Shard) -> list[Task[_SeenCanvas]]:
        perceived = {row.key: row for row in shard.rows(PERCEIVED_CANVASES, _Perceived)}
        canvases = [canvas for canvas in shard.rows("outpaint", _Canvas) if canvas.key in perceived]
        return [Task(canvas.key, _SeenCanvas(canvas, perceived[canvas.key])) for canvas in canvases]

    def run(self, tasks: Sequence[Task[_SeenCanvas]], shard: Shard) -> list[Outcome]:
        return [
            Outcome.kept(self._propose(task.payload, seed_for(shard.run_seed, self.name, task.key))) for task in tasks
        ]

    def _propose(self, seen: _SeenCanvas, seed: int) -> Proposals:
        canvas = seen.canvas
        rng, size = random.Random(seed), (canvas.width, canvas.height)
        label = tuple(float(v) for v in canvas.photo_box)
        candidates = [
            *_jittered(label, size, self._settings, rng),
            *_aspects(label, size, self._settings.aspects),
            *_on_subject(canvas.subject_box, size, self._settings, rng),
            *_grid(size, self._settings.grid, rng),
        ]
        kept = SubjectGrid(unpack_mask(seen.perceived.mask), *size).kept([box for _, box in candidates])
        whole = [(origin, whole_pixels(box, size)) for origin, box in candidates]
        cut = CanvasFaces(seen.perceived.faces, size).cut([box for _, box in whole])
        tried = [(PHOTO, label)]
        for candidate, share, cuts_head in zip(whole, kept, cut, strict=True):
            if share >= self._settings.min_subject and not cuts_head:
                tried.append(candidate)
        chosen = [tried[i] for i in choose_distinct([box for _, box in tried], self._settings.distinct_iou)]
        boxes, origins = [list(box) for _, box in chosen], [origin for origin, _ in chosen]
        return Proposals(canvas.key, canvas.photo, boxes, origins)


def _jittered(
    label: Box, size: tuple[int, int], settings: ProposeSettings, rng: random.Random
) -> Iterator[tuple[str, Box]]:
    """The pseudo-label, moved and resized a little."""
    w, h = label[2] - label[0], label[3] - label[1]
    for _ in range(settings.jitter):
        dx, dy, dw, dh = (rng.uniform(-settings.jitter_share, settings.jitter_share) for _ in range(4))
        cx, cy = (label[0] + label[2]) / 2 + dx * w, (label[1] + label[3]) / 2 + dy * h
        w2, h2 = w * (1 + dw), h * (1 + dh)
        yield "jitter", shift_inside((cx - w2 / 2, cy - h2 / 2, cx + w2 / 2, cy + h2 / 2), *size)


def _aspects(label: Box, size: tuple[int, int], aspects: Sequence[float]) -> Iterator[tuple[str, Box]]:
    """The pseudo-label at each aspect ratio, with its centre and area."""
    for ratio in sorted({*aspects, *(1 / a for a in aspects)}):
        yield "aspect", snap_aspect(label, ratio, *size)


def _on_subject(
    subject: Sequence[int], size: tuple[int, int], settings: ProposeSettings, rng: random.Random
) -> Iterator[tuple[str, Box]]:
    """Boxes that put the centre of the subject on a third or in the middle of the crop."""
    if not subject:
        return
    cx, cy = (subject[0] + subject[2]) / 2, (subject[1] + subject[3]) / 2
    least = max(area(subject) * 1.3, size[0] * size[1] * 0.1)
    most = max(least * 1.5, size[0] * size[1] * 0.7)
    ratios = sorted({*settings.aspects, *(1 / a for a in settings.aspects)})
    for _ in range(settings.subject):
        ratio, wanted = rng.choice(ratios), rng.uniform(least, most)
        w, h = (wanted * ratio) ** 0.5, (wanted / ratio) ** 0.5
        fx, fy = rng.choice((1 / 3, 1 / 2, 2 / 3)), rng.choice((1 / 3, 1 / 2, 2 / 3))
        yield "subject", shift_inside((cx - fx * w, cy - fy * h, cx + (1 - fx) * w, cy + (1 - fy) * h), *size)


def _grid(size: tuple[int, int], count: int, rng: random.Random) -> Iterator[tuple[str, Box]]:
    """GAIC's grid anchors: corners at the centres of bins 0-3 and 8-11 of 12."""
    w, h = size[0] / GRID_BINS, size[1] / GRID_BINS
    low, high = range(GRID_REACH), range(GRID_BINS - GRID_REACH, GRID_BINS)
    anchors = [
        ((x1 + 0.5) * w, (y1 + 0.5) * h, (x2 + 0.5) * w, (y2 + 0.5) * h)
        for x1 in low for y1 in low for x2 in high for y2 in high
    ]  # fmt: skip
    fit = [box for box in anchors if area(box) > 0.5 * size[0] * size[1] and 0.5 <= aspect(box) <= 2]
    for box in rng.sample(fit, min(count, len(fit))):
        yield "grid", box
