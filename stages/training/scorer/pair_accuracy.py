"""ScorerEvaluation of a scorer from its saved weights, on size-matched pairs of held-out photographs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from pipeline.core.seeds import seed_for
from stages.backends.base.protocols import Image, Scorer, Segmenter
from stages.backends.scorers.subject_features import WIDEST, Array, SubjectMass
from stages.training.scorer.calibration import Reliability, reliability
from stages.training.scorer.crop_search_eval import agreement, best_crops, is_canvas, pixels, score
from stages.training.scorer.pairs import KINDS, Example, random_window
from stages.training.scorer.views import degraded

Progress = Callable[[str, int, int], None]

RANDOM_CROPS = 60  # of a photo, for ``subject_kept``
RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class Failure:
    """A pair that the scorer ranked wrongly.

    Args:
        kind: of the pair.
        photo: its name.
        picture: uint8 [H, W, 3].
        better: box [4] in pixels.
        worse: box [4] in pixels.
        scores: of the better and of the worse.
    """

    kind: str
    photo: str
    picture: Image
    better: Array
    worse: Array
    scores: tuple[float, float]


class HeldOutFigures(TypedDict):
    """Figures of a scorer on held-out examples; the functions that compute them define each.

    Attributes:
        accuracy: by kind of pair.
        accuracy_degraded: the same on pictures degraded twice as strongly as in training.
        accuracy_within_16_9: the same without pairs in which a crop is longer than 16:9.
        calibration: of ``reliability``.
        best_crop: of ``best_crops``; empty without a canvas that has one subject.
        subject_kept_inside: of ``subject_kept``; empty without a photo that has one subject.
        ranking_agreement: of ``agreement``.
    """

    accuracy: dict[str, dict[str, float]]
    accuracy_degraded: dict[str, dict[str, float]]
    accuracy_within_16_9: dict[str, dict[str, float]]
    calibration: Reliability
    best_crop: dict[str, float]
    subject_kept_inside: dict[str, float]
    ranking_agreement: dict[str, dict[str, float]]


@dataclass(frozen=True)
class ScorerEvaluation:
    """The result of an evaluation.

    Args:
        figures: for the report.
        failures: the worst pairs of each kind.
    """

    figures: HeldOutFigures
    failures: list[Failure]


def evaluate_scorer(
    scorer: Scorer,
    segmenter: Segmenter,
    examples: Sequence[Example],
    log_odds: Callable[[Array], Array],
    progress: Progress,
) -> ScorerEvaluation:
    """All held-out figures of a scorer, and its worst failures.

    Args:
        scorer: to evaluate.
        segmenter: of the subjects.
        examples: of held-out photographs.
        log_odds: of its scores, ``Calibration.log_odds``.
        progress: called with the name of the step, parts done and all parts.
    """
    clean, stressed = [], []
    for number, example in enumerate(examples):
        clean.append(score(scorer, example.picture, pixels(example)))
        stressed.append(score(scorer, *_stressed(example, number)))
        progress("judge", number + 1, 2 * len(examples))
    inside = [example for example in examples if not is_canvas(example)]
    figures: HeldOutFigures = {
        "accuracy": accuracy(examples, clean),
        "accuracy_degraded": accuracy(examples, stressed),
        "accuracy_within_16_9": accuracy([_within_16_9(example) for example in examples], clean),
        "calibration": reliability(examples, clean, log_odds),
        "best_crop": best_crops(scorer, segmenter, examples),
        "subject_kept_inside": subject_kept(scorer, segmenter, inside),
        "ranking_agreement": agreement(scorer, examples),
    }
    progress("judge", 2 * len(examples), 2 * len(examples))
    return ScorerEvaluation(figures, _failures(examples, clean))


def accuracy(examples: Sequence[Example], scores: Sequence[Array]) -> dict[str, dict[str, float]]:
    """Per kind: mean over photos of the share of pairs in the right order (ties count half), with a 95 % interval."""
    table = {}
    for kind in KINDS:
        by_photo: dict[str, list[float]] = {}
        for example, values in zip(examples, scores, strict=True):
            for better, worse, of in example.pairs:
                if of == kind:
                    right = 0.5 + 0.5 * float(np.sign(values[better] - values[worse]))
                    by_photo.setdefault(example.photo, []).append(right)
        if by_photo:
            means = np.array([np.mean(right) for right in by_photo.values()])
            low, high = _interval(means)
            pairs = sum(len(right) for right in by_photo.values())
            table[kind] = {"accuracy": round(float(means.mean()), 3), "low": low, "high": high, "pairs": pairs}
    return table


def subject_kept(scorer: Scorer, segmenter: Segmenter, examples: Sequence[Example]) -> dict[str, float]:
    """Share of the subject kept by the best-scored of many equal-area crops inside a photo, beside random and best."""
    rows = []
    for number, example in enumerate(examples):
        height, width = example.picture.shape[:2]
        rng = np.random.default_rng(seed_for(0, "scorer-kept", example.photo, number))
        area = rng.uniform(0.25, 0.45) * width * height
        made = [random_window(area, width / height, (width, height), rng) for _ in range(RANDOM_CROPS)]
        boxes = np.stack([box for box in made if box is not None])
        (mask,) = segmenter.segment([example.picture])
        kept = SubjectMass(mask).kept(boxes)
        best = int(np.argmax(score(scorer, example.picture, boxes)))
        rows.append((kept[best], kept.mean(), kept.max()))
    if not rows:
        return {}
    chosen, drawn, best = np.mean(rows, 0)
    return {"by_score": round(float(chosen), 3), "random": round(float(drawn), 3), "possible": round(float(best), 3)}


def _stressed(example: Example, number: int) -> tuple[Image, Array]:
    rng = np.random.default_rng(seed_for(0, "scorer-stress", str(number)))
    return degraded(example.picture, rng, strength=2.0), pixels(example)


def _within_16_9(example: Example) -> Example:
    """The example without the pairs that elongation could decide, which is a feature only beyond 16:9."""
    sides = pixels(example)[:, 2:] - pixels(example)[:, :2]
    moderate = np.abs(np.log(sides[:, 0] / sides[:, 1])) <= np.log(WIDEST)
    pairs = [pair for pair in example.pairs if moderate[pair[0]] and moderate[pair[1]]]
    return Example(example.photo, example.picture, example.boxes, tuple(pairs))


def _interval(means: Array) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = rng.choice(means, (RESAMPLES, len(means))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return round(float(low), 3), round(float(high), 3)


def _failures(examples: Sequence[Example], scores: Sequence[Array]) -> list[Failure]:
    """The pair of each kind and picture that is most wrong, the four worst pictures a kind."""
    worst: dict[tuple[str, str], Failure] = {}
    for example, values in zip(examples, scores, strict=True):
        boxes = pixels(example)
        for better, worse, kind in example.pairs:
            pair = (float(values[better]), float(values[worse]))
            known = worst.get((kind, example.photo))
            if pair[0] < pair[1] and (known is None or pair[1] - pair[0] > known.scores[1] - known.scores[0]):
                failure = Failure(kind, example.photo, example.picture, boxes[better], boxes[worse], pair)
                worst[kind, example.photo] = failure
    ranked = sorted(worst.values(), key=lambda failure: failure.scores[0] - failure.scores[1])
    return [failure for kind in KINDS for failure in [f for f in ranked if f.kind == kind][:4]]
