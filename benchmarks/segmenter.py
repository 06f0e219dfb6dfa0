"""``bench segmenter``: what cheaper masks of U2-NetP cost in agreement with today's: masks, grids, verdicts and scores.

Variants are the sides of the square that the network sees, and files of weights (``--weights``: quantised, older). Each is
compared with the default on the bundled photographs, on those of ``--photos``, and on the canvases of a finished run
(``--work``), for which the rules of ``filter`` and ``propose`` that read the mask are applied again. ``--settings`` also
times the settings of onnxruntime. All times are processor seconds of this process: other work on the machine changes them
less than the clock's.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image as Pillow

from benchmarks.harness import OURS, alternate, finish, result, versions
from pipeline.app.session import open_existing
from pipeline.core.geometry import BoxPx
from pipeline.core.resources import bundled
from pipeline.core.seeds import seed_for
from stages.audits.seam.canvas_samples import Canvases
from stages.backends.base import picture as perceived
from stages.backends.base.protocols import Floats, Image, Segmenter
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.composition_engine import ScorerEngine
from stages.backends.vision.u2net import SIDE, U2NetSegmenter, u2netp_path
from stages.canvases.subject_mask_grid import SubjectGrid
from stages.filter import FilterSettings

SUBJECT = 0.5
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Picture:
    """pixels: uint8 [H, W, 3]; photo_box: of a canvas, where its photo lies; None for a photograph."""

    key: str
    pixels: Image
    photo_box: BoxPx | None = None


@dataclass
class Agreement:
    """Figures of a variant against the default, one a picture; lists of a canvas only where there are canvases.

    iou: of the masks above 0.5; difference: mean absolute, of the soft masks; grid: correlation of the packed grids;
    verdicts: keys whose verdict changed; crops: whether each random crop still keeps, or still loses, the subject;
    score_difference: mean absolute; score_rank: Spearman's correlation over the crops of a canvas.
    """

    iou: list[float] = field(default_factory=list)
    difference: list[float] = field(default_factory=list)
    grid: list[float] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    crops: list[bool] = field(default_factory=list)
    score_difference: list[float] = field(default_factory=list)
    score_rank: list[float] = field(default_factory=list)

    def add_masks(self, first: Floats, second: Floats) -> None:
        """Compare two masks [H, W] of one picture."""
        a, b = first > SUBJECT, second > SUBJECT
        union = int((a | b).sum())
        self.iou.append(float((a & b).sum()) / union if union else 1.0)
        self.difference.append(float(np.abs(first - second).mean()))
        self.grid.append(correlation(*(perceived.mask_grid(mask).ravel() for mask in (first, second))))

    def summary(self) -> dict[str, float | int]:
        """Means, and counts of what changed."""
        means = {
            "iou": self.iou, "iou_worst_tenth": sorted(self.iou)[: max(1, len(self.iou) // 10)], "mask": self.difference,
            "grid": self.grid, "score_difference": self.score_difference, "score_rank": self.score_rank,
        }  # fmt: skip
        counts = {"verdicts_changed": len(self.verdicts), "crops_changed": self.crops.count(False)}
        return {name: round(float(np.mean(values)), 5) for name, values in means.items() if values} | (
            counts if self.crops else {}
        )


def main(arguments: Sequence[str]) -> None:
    """Parse options, measure, print the tables and the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench segmenter", description=__doc__)
    parser.add_argument("--sides", default="192,224,256", help="sides to compare, multiples of 32")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other ONNX files, run at the default side")
    parser.add_argument("--photos", type=Path, default=None, help="a folder of further photographs")
    parser.add_argument("--work", default="", help="a finished run, whose canvases are judged again")
    parser.add_argument("--limit", type=int, default=1_000_000, help="pictures of each kind at most")
    parser.add_argument("--crops", type=int, default=50, help="random crops a canvas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", action="store_true", help="also time settings of onnxruntime")
    options = parser.parse_args(arguments)
    segmenters = {OURS: U2NetSegmenter()}
    segmenters |= {f"side {side}": U2NetSegmenter(side=int(side)) for side in options.sides.split(",") if side}
    segmenters |= {path.stem: U2NetSegmenter(path) for path in options.weights}
    tables = {"photographs": compared(segmenters, photographs(bundled("assets") / "photos", options.limit))}
    if options.photos:
        tables["more photographs"] = compared(segmenters, photographs(options.photos, options.limit))
    if options.work:
        session = open_existing(options.work)
        canvases = (Picture(c.key, c.pixels, c.box_px) for c in Canvases(session.run.tables(), options.limit))
        tables["canvases"] = compared(segmenters, canvases, settings=session.recipe.filter, crops=options.crops)
    for title, rows in tables.items():
        _print(title, rows)
    figures = alternate({name: partial(seconds, each) for name, each in segmenters.items()}, options.rounds)
    timed = alternate(session_settings(), options.rounds) if options.settings else {}
    finish(
        result(
            "segmenter", "CPU s/image", figures, higher_is_better=False, env=versions("onnxruntime", "Pillow"),
            agreement=tables, settings={name: round(float(np.median(values)), 4) for name, values in timed.items()},
        )
    )  # fmt: skip


def photographs(folder: Path, limit: int) -> Iterator[Picture]:
    """The photographs of a folder by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    for path in paths[:limit]:
        with Pillow.open(path) as photo:
            yield Picture(path.stem, np.asarray(photo.convert("RGB")))


def compared(
    segmenters: Mapping[str, Segmenter],
    pictures: Iterable[Picture],
    *,
    settings: FilterSettings | None = None,
    crops: int = 0,
) -> dict[str, dict[str, float | int]]:
    """The summary of each variant against ``ours``. settings: of the run that the canvases come from."""
    agreements = {name: Agreement() for name in segmenters if name != OURS}
    scorers = {name: MaskScorer(segmenter) for name, segmenter in segmenters.items()} if crops else {}
    count = 0
    for picture in pictures:
        count += 1
        masks = {name: segmenter.segment([picture.pixels])[0] for name, segmenter in segmenters.items()}
        boxes = random_boxes(picture, crops)
        scores = {name: scorer.score(picture.pixels, boxes) for name, scorer in scorers.items()}
        for name, agreement in agreements.items():
            agreement.add_masks(masks[OURS], masks[name])
            if settings and picture.photo_box:
                judged = [judge(picture, masks[each], boxes, settings) for each in (OURS, name)]
                agreement.verdicts += [picture.key] if judged[0][0] != judged[1][0] else []
                agreement.crops += [a == b for a, b in zip(judged[0][1], judged[1][1], strict=True)]
                agreement.score_difference.append(float(np.abs(scores[OURS] - scores[name]).mean()))
                agreement.score_rank.append(
                    correlation(*(each.argsort().argsort() for each in (scores[OURS], scores[name])))
                )
    return {name: {"pictures": count, **agreement.summary()} for name, agreement in agreements.items()}


class MaskScorer:
    """The bundled scorer with the masks of any segmenter: its check that the masks are those of its training is left out."""

    name = "mask-scorer"
    licence = "Apache-2.0"

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.digest = CompositionScorer().segmenter.digest
        self._engine = ScorerEngine(CompositionScorer().folder, self)

    def segment(self, images: Sequence[Image]) -> list[Floats]:
        """The segmenter's masks, under the digest that the scorer expects."""
        return self._segmenter.segment(images)

    def network_masks(self, images: Sequence[Image]) -> list[Floats]:
        """The same at the size that the segmenter works at."""
        return self._segmenter.network_masks(images)

    def score(self, image: Image, boxes: Floats) -> Floats:
        """Scores [N] of boxes [N, 4]."""
        return self._engine.score(perceived.LazyPicture.of(image), boxes)


def judge(picture: Picture, mask: Floats, boxes: Floats, settings: FilterSettings) -> tuple[str, list[bool]]:
    """Filter's verdict by the mask alone, and whether each of ``boxes`` [N, 4] keeps enough of the subject."""
    height, width = picture.pixels.shape[:2]
    own, *kept = SubjectGrid(perceived.mask_grid(mask), width, height).kept(
        [picture.photo_box or (0, 0, width, height), *boxes.tolist()]
    )
    verdict = "kept"
    if own < settings.min_own_subject:
        verdict = "bad_outpaint"
    elif 1 - own > settings.max_cut_subject:
        verdict = "subject_cut"
    return verdict, [share >= settings.min_subject for share in kept]


def random_boxes(picture: Picture, count: int) -> Floats:
    """Boxes [count, 4] of 40 to 90 % of either side, seeded by the picture's key."""
    rng = np.random.default_rng(seed_for(0, "bench segmenter", picture.key))
    sides = rng.uniform(0.4, 0.9, (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    height, width = picture.pixels.shape[:2]
    return (np.concatenate([start, start + sides], 1) * [width, height, width, height]).astype(np.float32)


def correlation(a: "np.ndarray", b: "np.ndarray") -> float:
    """Pearson's; 1 where neither varies and they are equal, 0 where only one does."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return float(np.array_equal(a, b))
    return float(np.corrcoef(a, b)[0, 1])


def seconds(segmenter: U2NetSegmenter) -> float:
    """Processor seconds for a mask of one canvas-sized picture."""
    image = np.random.default_rng(0).integers(0, 255, (128, 192, 3)).astype(np.uint8)
    began = time.process_time()
    segmenter.segment([image])
    return time.process_time() - began


def session_settings() -> dict[str, Callable[[], float]]:
    """Processor seconds an image of the bundled weights under other settings of onnxruntime."""
    level = ort.GraphOptimizationLevel
    changes: dict[str, dict[str, object]] = {
        "as shipped": {}, "no memory arena": {"enable_cpu_mem_arena": False}, "no memory pattern": {"enable_mem_pattern": False},
        "basic optimisation": {"graph_optimization_level": level.ORT_ENABLE_BASIC},
        "extended optimisation": {"graph_optimization_level": level.ORT_ENABLE_EXTENDED},
        "two threads": {"intra_op_num_threads": 2},
    }  # fmt: skip
    return {name: _runner(change) for name, change in changes.items()}


def _runner(changes: Mapping[str, object]) -> Callable[[], float]:
    """Times one run of the network in a session with these settings."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_free_dimension_override_by_name("side", SIDE)
    for name, value in changes.items():
        setattr(options, name, value)
    session = ort.InferenceSession(str(u2netp_path()), sess_options=options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)}

    def run() -> float:
        began = time.process_time()
        session.run(None, inputs)
        return time.process_time() - began

    return run


def _print(title: str, rows: Mapping[str, Mapping[str, float | int]]) -> None:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"{title}\n{'variant':<14} {' '.join(f'{name:>16}' for name in columns)}")
    for name, row in rows.items():
        print(f"{name:<14} {' '.join(f'{row.get(column, 0):>16}' for column in columns)}")
