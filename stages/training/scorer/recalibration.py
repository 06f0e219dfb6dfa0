"""Refit the calibration of a trained scorer on the canvases of a finished run; its projection and head stay as they are.

A full training paints its own canvases, which takes most of its time; those of a run serve as well, for the calibration needs
only how the heads of the folds rank photographs that they were not fitted to.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from PIL import Image as Pillow

from pipeline.core.errors import UsageError
from pipeline.core.geometry import BoxPx
from pipeline.core.json_types import Json
from pipeline.core.seeds import seed_for
from stages.backends.base.protocols import Floats, Image, Segmenter
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.composition_model import ScorerModel
from stages.training.scorer.calibration import reliability
from stages.training.scorer.crop_search_eval import pixels, score
from stages.training.scorer.cross_validation import fit_model
from stages.training.scorer.fitting import Fit
from stages.training.scorer.pairs import Example, canvas_example, inside_example
from stages.training.scorer.photo_folder import TEST, TRAIN
from stages.training.scorer.report_text import ScorerReport, figures_text
from stages.training.scorer.views import make_views

FIGURES = re.compile(r"(?<=## Held-out figures\n\n).*?(?=\n\n\*shifted\*:)", re.DOTALL)  # of the card
Progress = Callable[[str, int, int], None]


class FinishedCanvas(Protocol):
    """A canvas of a run; ``stages.audits.seam.canvas_samples.AuditedCanvas`` is one."""

    @property
    def key(self) -> str:
        """Of the canvas."""

    @property
    def photo(self) -> str:
        """Key of its photograph."""

    @property
    def pixels(self) -> Image:
        """uint8 [H, W, 3]."""

    @property
    def original(self) -> Image:
        """uint8 [h, w, 3], the photograph at the size that it has on the canvas."""

    @property
    def box_px(self) -> BoxPx:
        """Of the photograph on the canvas."""


@dataclass(frozen=True)
class Recalibrated:
    """The result of a recalibration.

    Args:
        model: with the new calibration.
        cross_validated: accuracy by kind of pair of the folds' heads, on photos that they were not fitted to.
    """

    model: ScorerModel
    cross_validated: dict[str, float]


def recalibrate(
    folder: Path,
    canvases: Iterable[tuple[FinishedCanvas, str]],
    segmenter: Segmenter,
    seed: int,
    progress: Progress = lambda step, done, total: None,
) -> Recalibrated:
    """Refit the calibration in ``folder``, and renew its ``config.json``, the report's calibration and the card's figures.

    The folds are of the training photographs; the reliability is that on the photographs held out. Raises ModelError when the
    folder's model does not load, UsageError without two photographs to fit to.

    Args:
        folder: of the scorer.
        canvases: of a run, each with its split.
        segmenter: that the scorer was trained with.
        seed: of pairs, views and folds.
        progress: called with the name of the step, parts done and all parts.
    """
    known = ScorerModel.load(folder, segmenter.digest)
    examples: dict[str, list[Example]] = {}
    for canvas, split in canvases:
        examples.setdefault(split, []).extend(canvas_examples(canvas, segmenter, seed))
    train = examples.get(TRAIN, [])
    if len({example.photo for example in train}) < 2:
        raise UsageError("the calibration needs canvases of at least two photographs of the split 'train'")
    fitted = fit_model(make_views(train, segmenter, seed, 1, progress), Fit(), seed, progress, known)
    fitted.model.save(folder, segmenter.digest)
    _renew_report(folder, CompositionScorer(folder, segmenter), fitted.model, examples.get(TEST, []))
    return Recalibrated(fitted.model, fitted.cross_validated)


def canvas_examples(canvas: FinishedCanvas, segmenter: Segmenter, seed: int) -> list[Example]:
    """The pairs of a canvas, and pairs of crops inside its photo; only examples that have pairs."""
    (mask,) = segmenter.segment([canvas.original])
    rng = np.random.default_rng(seed_for(seed, "scorer-recalibration", canvas.key))
    box = np.array(canvas.box_px, np.float64)
    made = [
        canvas_example(canvas.pixels, box, _sized(mask, canvas.box_px), canvas.photo, rng),
        inside_example(canvas.original, mask, canvas.photo, rng),
    ]
    return [example for example in made if example.pairs]


def _sized(mask: Floats, box: BoxPx) -> Floats:
    return np.asarray(Pillow.fromarray(mask).resize((box[2] - box[0], box[3] - box[1]), Pillow.Resampling.BILINEAR))


def _renew_report(folder: Path, scorer: CompositionScorer, model: ScorerModel, held_out: Sequence[Example]) -> None:
    """New figures of ``calibration`` in the report and the card; nothing without a report or held-out examples."""
    path, card = folder / "report.json", folder / "README.md"
    if not path.is_file() or not held_out:
        return
    scores = [score(scorer, example.picture, pixels(example)) for example in held_out]
    report: dict[str, Json] = json.loads(path.read_text(encoding="utf-8"))
    report["calibration"] = cast("Json", reliability(held_out, scores, model.calibration.log_odds))
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if card.is_file():
        figures = figures_text(cast("ScorerReport", report))
        card.write_text(FIGURES.sub(lambda _: figures, card.read_text(encoding="utf-8")), encoding="utf-8")
