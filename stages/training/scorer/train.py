"""Train the composition scorer on a folder of photographs, evaluate it on held-out ones, and write it with its card.

The whole of ``procrop-data train-scorer``: the same photographs, settings and machine give the same digest.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.core.errors import UsageError
from stages.backends.base.protocols import Outpainter, Segmenter
from stages.backends.scorers.composition import CompositionScorer
from stages.training.scorer.canvas_examples import ExampleMaker
from stages.training.scorer.card import write_scorer_card
from stages.training.scorer.crop_search_eval import pixels, score
from stages.training.scorer.cross_validation import fit_model
from stages.training.scorer.fitting import Fit
from stages.training.scorer.paint_canvases import CanvasPainter
from stages.training.scorer.pair_accuracy import accuracy, evaluate_scorer
from stages.training.scorer.photo_folder import TEST, TRAIN, VAL, Photograph, read_photographs
from stages.training.scorer.report_text import ScorerReport
from stages.training.scorer.views import make_views

Progress = Callable[[str, int, int], None]
UNFINISHED = "unfinished"  # folder within OUT: canvases painted so far, then the model until it is evaluated


@dataclass(frozen=True)
class ScorerTraining:
    """Settings of a training.

    Args:
        seed: of all random numbers.
        variants: canvases of a photo.
        long_side: of a canvas in pixels, as in the default recipe.
        insides: sets of crops inside a photo.
        views: degraded copies of each picture, half of them mirrored.
        fit: of the head.
    """

    seed: int = 0
    variants: int = 4
    long_side: int = 192
    insides: int = 4
    views: int = 2
    fit: Fit = field(default_factory=Fit)


def train_composition_scorer(
    photos: Path,
    out: Path,
    settings: ScorerTraining,
    *,
    outpainter: Outpainter,
    segmenter: Segmenter,
    progress: Progress = lambda step, done, total: None,
) -> ScorerReport:
    """Train on ``photos``, write weights, config, card, pictures and ``report.json`` to ``out``; returns the report.

    After an interruption, ``out`` keeps the canvases painted so far and the model that was there before. Raises UsageError
    when there are fewer than two photographs to train on or none held out.

    Args:
        photos: a folder of photographs, split as by ``read_photographs``.
        out: folder of the model.
        settings: of the training.
        outpainter: of the canvases.
        segmenter: of the subjects; the scorer works with this one only.
        progress: called with the name of the step, parts done and all parts.
    """
    times = [time.perf_counter()]
    lost: list[str] = []
    groups = _groups(read_photographs(photos, seed=settings.seed, lost=lost.append), photos, lost)
    unfinished = out / UNFINISHED
    painter = CanvasPainter(outpainter, segmenter, settings.long_side, settings.seed, unfinished / "canvases")
    maker = ExampleMaker(painter, settings.variants, settings.insides)
    everyone = [photograph for group in groups.values() for photograph in group]
    made = maker.make(everyone, progress)
    names = {split: {photograph.name for photograph in group} for split, group in groups.items()}
    examples = {split: [example for example in made if example.photo in names[split]] for split in groups}
    times.append(time.perf_counter())
    views = make_views(examples[TRAIN], segmenter, settings.seed, settings.views, progress)
    fitted = fit_model(views, settings.fit, settings.seed, progress)
    digest = fitted.model.save(unfinished, segmenter.digest)
    times.append(time.perf_counter())
    scorer = CompositionScorer(unfinished, segmenter)
    evaluation = evaluate_scorer(scorer, segmenter, examples[TEST], fitted.model.calibration.log_odds, progress)
    validated = [score(scorer, example.picture, pixels(example)) for example in examples[VAL]]
    spent = np.diff([*times, time.perf_counter()])
    report: ScorerReport = {
        "digest": digest,
        "settings": asdict(settings),
        "outpainter": f"{outpainter.name} {outpainter.digest}",
        "photos": {split: sorted(of_split) for split, of_split in names.items()},
        "unreadable": lost,
        "seconds": {name: round(float(took)) for name, took in zip(("paint", "learn", "judge"), spent, strict=True)},
        "cross_validated": fitted.cross_validated,
        "validated": {kind: row["accuracy"] for kind, row in accuracy(examples[VAL], validated).items()},
        **evaluation.figures,
    }
    (unfinished / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_scorer_card(unfinished, report, evaluation)
    _finish(unfinished, out)
    return report


def _finish(unfinished: Path, out: Path) -> None:
    """Move the files of an evaluated model to their place, then remove the canvases."""
    for file in sorted(unfinished.iterdir()):
        if file.is_file():
            os.replace(file, out / file.name)
    shutil.rmtree(unfinished)


def _groups(photographs: Sequence[Photograph], folder: Path, lost: Sequence[str]) -> dict[str, list[Photograph]]:
    groups = {split: [p for p in photographs if p.split == split] for split in (TRAIN, VAL, TEST)}
    if len(groups[TRAIN]) < 2 or not groups[TEST]:
        unread = f", {len(lost)} unreadable" if lost else ""
        raise UsageError(
            f"{folder} has {len(groups[TRAIN])} photographs to train on and {len(groups[TEST])} held out{unread}: "
            "the scorer needs at least 2 and 1; add photographs, or say train and test in a credits.csv (file, split)"
        )
    return groups
