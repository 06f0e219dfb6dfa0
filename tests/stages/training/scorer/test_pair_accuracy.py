from dataclasses import dataclass

import numpy as np
import pytest

from stages.training.scorer.pair_accuracy import accuracy, evaluate_scorer
from stages.training.scorer.pairs import CUT, INSIDE, SHIFTED, TILTED, Example
from tests.fakes import FakeScorer, FakeSegmenter


@dataclass
class Contrary(FakeScorer):
    """The opposite of its parent."""

    def score(self, pictures, boxes):
        return [10 - scores for scores in super().score(pictures, boxes)]


@dataclass
class Indifferent(FakeScorer):
    """Every crop is as good as any other."""

    def score(self, pictures, boxes):
        return [np.full(len(found), 5, np.float32) for found in boxes]


@pytest.fixture
def examples() -> list[Example]:
    """The middle beside shifted, cut and tilted windows; FakeScorer and FakeSegmenter both like the middle."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    middle, corner, tall = [0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 0.5, 0.5], [0.2, 0.05, 0.45, 1.0]
    canvas = Example("p", picture, np.array([middle, corner, tall]), ((0, 1, SHIFTED), (0, 1, CUT), (0, 2, TILTED)))
    inside = Example("p", picture, np.array([middle, corner]), ((0, 1, INSIDE),))
    return [canvas, inside]


def of(scorer: FakeScorer, examples: list[Example]):
    return evaluate_scorer(scorer, FakeSegmenter(), examples, np.asarray, lambda step, done, total: None)


def test_metrics_separate_good_contrary_and_indifferent_scorers(examples: list[Example]) -> None:
    good, contrary, indifferent = (of(scorer, examples) for scorer in (FakeScorer(), Contrary(), Indifferent()))
    for kind in (SHIFTED, TILTED, CUT, INSIDE):
        rows = [judged.figures["accuracy"][kind]["accuracy"] for judged in (good, contrary, indifferent)]
        assert rows == [1.0, 0.0, 0.5]
    kept = [judged.figures["best_crop"]["by_score"] for judged in (good, contrary)]
    assert kept[0] > 0.85 > kept[1]
    inside = [judged.figures["subject_kept_inside"]["by_score"] for judged in (good, contrary)]
    assert inside[0] > inside[1]
    assert indifferent.figures["ranking_agreement"]["mirrored"]["mean"] == 0
    assert contrary.figures["calibration"]["all"]["error"] > good.figures["calibration"]["all"]["error"]
    assert good.failures == [] and {failure.kind for failure in contrary.failures} == {SHIFTED, TILTED, CUT, INSIDE}


def test_pairs_that_elongation_tells_are_counted_apart(examples: list[Example]) -> None:
    figures = of(FakeScorer(), examples).figures
    assert TILTED in figures["accuracy"] and TILTED not in figures["accuracy_within_16_9"]
    assert figures["accuracy_within_16_9"][SHIFTED]["pairs"] == 1


def test_a_photo_counts_once_however_many_pairs_it_has(examples: list[Example]) -> None:
    picture, boxes = examples[0].picture, examples[0].boxes
    many = Example("many", picture, boxes, ((0, 1, SHIFTED),) * 9)
    one = Example("one", picture, boxes, ((1, 0, SHIFTED),))
    table = accuracy([many, one], [np.array([3.0, 1.0, 0.0])] * 2)
    assert table[SHIFTED]["accuracy"] == 0.5 and table[SHIFTED]["pairs"] == 10
