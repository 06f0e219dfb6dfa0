"""``bench refinement``: does refinement keep to its premise, by judges that neither trained its scorer nor saw the photographs.

The photographs of a finished run (``--work``; without one, the demo is run up to ``filter``) are dealt into three groups, and a
scorer is trained on the canvases of each. The canvases of every group are refined again with the scorer of the next group, and the
scorer of the third one judges the result. Per canvas, then averaged over its photograph:

- ``frame_same_size``, ``frame_any_size``: share of 200 random boxes, of the frame's size and aspect ratio or of any, that score
  less than the professional's frame; ``frame_top_5``: whether it is in the top 5 % of its size.
- ``added_preferred``: share of pairs (a box that refinement added, one of the best proposals that it replaced) in which the judge
  prefers the first.
- ``above_frame``, ``above_frame_judge``: share of refined boxes that score above the frame, by the scorer and by the judge.

``scores`` has quantiles of all kept scores of the run as it is, ``kept_without_crop`` its share of kept canvases without a further
crop. Training the judges takes long; ``--judges`` keeps them for the next time.
"""

import argparse
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.harness import environment, finish
from pipeline.app.progress import Display
from pipeline.app.run_stages import RunRequest, run_stages_of
from pipeline.app.session import Session, open_existing
from pipeline.core.errors import UsageError
from pipeline.core.geometry import cover
from pipeline.core.records import Crops, Proposals, Refined
from pipeline.core.seeds import fraction_of, seed_for
from stages.audits.seam.canvas_samples import AuditedCanvas, Canvases
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.subject_features import Array
from stages.backends.vision.u2net import U2NetSegmenter
from stages.canvases.distinct_boxes import choose_distinct
from stages.refine import RefineSettings, round_name
from stages.training.scorer.crop_search_eval import score
from stages.training.scorer.cross_validation import fit_model
from stages.training.scorer.fitting import Fit
from stages.training.scorer.pairs import random_window
from stages.training.scorer.recalibration import canvas_examples
from stages.training.scorer.views import make_views

GROUPS = 3
RANDOM_BOXES = 200
TOP = 0.95
RESAMPLES = 1000


@dataclass
class Figures:
    """Values of each figure by photograph."""

    by_photo: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, photo: str, **values: float) -> None:
        """Values of a canvas; NaN for a figure that it does not have."""
        for name, value in values.items():
            if not np.isnan(value):
                self.by_photo[name][photo].append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over photographs of each figure, with a 95 % bootstrap interval over photographs."""
        return {name: _interval([float(np.mean(v)) for v in photos.values()]) for name, photos in self.by_photo.items()}


def main(arguments: Sequence[str]) -> None:
    """Parse options, train judges, refine, judge, and print the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench refinement", description=__doc__)
    parser.add_argument(
        "--work", default="", help="a run on this machine that is finished up to filter; default: run the demo"
    )
    parser.add_argument(
        "--judges", type=Path, default=None, help="folder that keeps the judges; default: a temporary one"
    )
    parser.add_argument("--canvases", type=int, default=1_000_000, help="at most, spread over the photographs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(options.work or Path(temporary) / "demo")
        if not options.work:
            run_stages_of(RunRequest(config="demo", work=str(work), until="filter"), Display(quiet=True))
        session = open_existing(str(work))
        canvases = list(Canvases(session.run.tables(), options.canvases))
        by_photo = groups_of(canvas.photo for canvas in canvases)
        if len(by_photo) < 2 * GROUPS:
            raise UsageError(
                f"{work} has canvases of {len(by_photo)} photographs: {2 * GROUPS} are needed, two for each judge"
            )
        groups = [[canvas for canvas in canvases if by_photo[canvas.photo] == group] for group in range(GROUPS)]
        kept = kept_scores(session)
        judges = train_judges(groups, options.judges or Path(temporary) / "judges")
        figures = Figures()
        for group, own in enumerate(groups):
            scorer, judge = judges[(group + 1) % GROUPS], judges[(group + 2) % GROUPS]
            again = refined_again(work, Path(temporary) / f"run-{group}", scorer.folder)
            judge_group(figures, again, own, scorer, judge)
    summary = figures.summary()
    for name, row in summary.items():
        print(f"{name:20} {row['mean']:.3f}  {row['low']:.3f} to {row['high']:.3f}")
    finish({
        "bench": "refinement", "unit": "share", "ours": summary["added_preferred"]["mean"], "figures": summary, **kept,
        "canvases": len(canvases), "env": environment("torch"),
    })  # fmt: skip


def groups_of(photos: Iterable[str]) -> dict[str, int]:
    """The group of each photograph: equal in size, by the order of the hashes of their keys."""
    order = sorted(set(photos), key=lambda photo: fraction_of(0, "refinement-judges", photo))
    return {photo: number % GROUPS for number, photo in enumerate(order)}


def train_judges(groups: Sequence[Sequence[AuditedCanvas]], folder: Path) -> list[CompositionScorer]:
    """One scorer a group of photographs; what ``folder`` has already is not trained again."""
    segmenter = U2NetSegmenter()
    for group, own in enumerate(groups):
        out = folder / str(group)
        if not (out / "config.json").is_file():
            examples = [example for canvas in own for example in canvas_examples(canvas, segmenter, 0)]
            views = make_views(examples, segmenter, 0, 2, _silent)
            fit_model(views, Fit(), 0, _silent).model.save(out, segmenter.digest)
    return [CompositionScorer(folder / str(group), segmenter) for group in range(GROUPS)]


def refined_again(work: Path, copy: Path, scorer: Path) -> Session:
    """A copy of the run whose refinement was made with the scorer in a folder; other stages stay as they are."""
    shutil.copytree(work, copy)
    request = RunRequest(
        stage="refine", work=str(copy), workers=1, accept_change=True,
        overrides=("models.scorer.kind=composition", f"models.scorer.folder={scorer.resolve()}"),
    )  # fmt: skip
    run_stages_of(request, Display(quiet=True))
    return open_existing(str(copy))


def judge_group(
    figures: Figures,
    session: Session,
    canvases: Sequence[AuditedCanvas],
    scorer: CompositionScorer,
    judge: CompositionScorer,
) -> None:
    """Add the figures of some canvases."""
    tables = session.run.tables()
    refined: dict[str, Refined] = {}
    proposals: dict[str, Proposals] = {}
    last = round_name(session.recipe.refine.rounds)
    for shard in tables.shards(last):
        refined |= {row.key: row for row in tables.rows(last, shard, Refined)}
        proposals |= {row.key: row for row in tables.rows("propose", shard, Proposals)}
    for canvas in canvases:
        if canvas.key not in refined:
            continue
        after = np.array(refined[canvas.key].boxes)
        before = best_proposals(np.array(proposals[canvas.key].boxes), canvas, scorer, session.recipe.refine)
        scores, opinions = score(scorer, canvas.pixels, after), score(judge, canvas.pixels, after)
        added = opinions[[box.tolist() not in before.tolist() for box in after]]
        replaced = score(judge, canvas.pixels, before)[[box.tolist() not in after.tolist() for box in before]]
        figures.add(
            canvas.photo,
            added_preferred=_preferred(added, replaced),
            above_frame=_preferred(scores[1:], scores[:1]),
            above_frame_judge=_preferred(opinions[1:], opinions[:1]),
            **frame_rank(canvas, scorer),
        )


def best_proposals(boxes: Array, canvas: AuditedCanvas, scorer: CompositionScorer, settings: RefineSettings) -> Array:
    """The beam [N, 4] that a refinement without moves would end with."""
    valid = boxes[[cover(boxes[0], box) >= settings.min_cover for box in boxes]]
    ranked = valid[[0, *(1 + np.argsort(-score(scorer, canvas.pixels, valid)[1:], kind="stable"))]]
    return np.asarray(ranked[choose_distinct(ranked.tolist(), settings.distinct_iou, settings.beam + 1)])


def frame_rank(canvas: AuditedCanvas, scorer: CompositionScorer) -> dict[str, float]:
    """Share of random boxes that score less than the professional's frame."""
    height, width = canvas.pixels.shape[:2]
    rng = np.random.default_rng(seed_for(0, "refinement-random", canvas.key))
    frame = np.array(canvas.box_px, np.float64)
    sides = frame[2:] - frame[:2]
    same = _random(lambda: (float(sides.prod()), float(sides[0] / sides[1])), (width, height), rng)
    free = _random(
        lambda: (np.exp(rng.uniform(np.log(0.05), 0)) * width * height, width / height * np.exp(rng.normal(0, 0.3))),
        (width, height),
        rng,
    )
    own = float(score(scorer, canvas.pixels, frame[None])[0])
    shares = [float(np.mean(score(scorer, canvas.pixels, boxes) < own)) for boxes in (same, free)]
    return {"frame_same_size": shares[0], "frame_any_size": shares[1], "frame_top_5": float(shares[0] >= TOP)}


def kept_scores(session: Session) -> Mapping[str, object]:
    """Quantiles of the run's kept scores, and its share of kept canvases without a further crop."""
    tables = session.run.tables()
    rows = [row for shard in tables.shards("filter") for row in tables.rows("filter", shard, Crops)]
    labels, crops = [row.scores[0] for row in rows], [value for row in rows for value in row.scores[1:]]
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    return {
        "kept_without_crop": round(float(np.mean([len(row.scores) == 1 for row in rows])), 3),
        "crops_of_canvas": round(len(crops) / max(1, len(rows)), 2),
        "scores": {
            name: [round(float(q), 2) for q in np.quantile(values or [0.0], shares)]
            for name, values in (("frame", labels), ("others", crops))
        },
    }


def _random(draw: Callable[[], tuple[float, float]], size: tuple[int, int], rng: np.random.Generator) -> Array:
    boxes: list[Array] = []
    while len(boxes) < RANDOM_BOXES:
        area, aspect = draw()
        box = random_window(area, aspect, size, rng)
        boxes += [] if box is None else [box]
    return np.stack(boxes)


def _preferred(first: Array, second: Array) -> float:
    """Share of pairs in which the first is higher, ties count half; NaN without pairs."""
    if not len(first) or not len(second):
        return float("nan")
    return float(np.mean(0.5 + 0.5 * np.sign(first[:, None] - second[None])))


def _interval(means: Sequence[float]) -> dict[str, float]:
    drawn = np.random.default_rng(0).choice(means, (RESAMPLES, len(means))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"mean": round(float(np.mean(means)), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def _silent(step: str, done: int, total: int) -> None:
    """Progress that nobody reads."""
