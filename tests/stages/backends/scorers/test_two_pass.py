import numpy as np
import pytest

from stages.backends.base.picture import LazyPicture
from stages.backends.scorers.two_pass import PrescoredScorer, best_and_first

IMAGE = LazyPicture.of(np.zeros((8, 8, 3), np.uint8))


class ByColumn:
    """A scorer that reads its scores from a column of the boxes, and notes how many it was given."""

    licence = "none"

    def __init__(self, column):
        self.column, self.name, self.digest, self.given = column, f"column {column}", f"digest {column}", []

    def score(self, pictures, boxes):
        self.given += [len(own) for own in boxes]
        return [own[:, self.column].astype(np.float32) for own in boxes]


def boxes_of(cheap, full):
    return np.stack([cheap, full, np.zeros(len(cheap)), np.zeros(len(cheap))], 1).astype(np.float32)


def test_only_the_best_and_the_first_are_scored_in_full():
    full, boxes = ByColumn(1), boxes_of([3.5, 5, 3, 4, 2], [6, 7, 1, 8, 1])
    scorer = PrescoredScorer(full, ByColumn(0), keep=2)
    (scores,) = scorer.score([IMAGE], [boxes])
    assert full.given == [3] and scores[[0, 1, 3]].tolist() == [6, 7, 8]
    assert scores[2] > scores[4] and max(scores[2], scores[4]) < 6  # the others below, in the cheap scorer's order


def test_with_few_boxes_all_are_scored_in_full():
    boxes = boxes_of([1, 2], [4, 3])
    assert PrescoredScorer(ByColumn(1), ByColumn(0), keep=5).score([IMAGE], [boxes])[0].tolist() == [4, 3]


def test_a_batch_equals_single_pictures():
    rng = np.random.default_rng(0)
    boxes = [boxes_of(*rng.uniform(0, 10, (2, count))) for count in (6, 1, 9)]
    together = PrescoredScorer(ByColumn(1), ByColumn(0), keep=3).score([IMAGE] * 3, boxes)
    for own, scores in zip(boxes, together, strict=True):
        (alone,) = PrescoredScorer(ByColumn(1), ByColumn(0), keep=3).score([IMAGE], [own])
        assert alone.tolist() == scores.tolist()


def test_the_agreement_is_the_mean_rank_correlation():
    scorer = PrescoredScorer(ByColumn(1), ByColumn(0), keep=9)
    assert np.isnan(scorer.agreement[0]) and scorer.agreement[1] == 0
    scorer.score([IMAGE] * 2, [boxes_of([1, 2, 3], [1, 2, 3]), boxes_of([1, 2, 3], [3, 2, 1])])
    assert scorer.agreement == (pytest.approx(0), 2)


def test_the_digest_follows_both_scorers_and_the_number_kept():
    digests = {
        PrescoredScorer(ByColumn(a), ByColumn(b), keep).digest for a, b, keep in ((0, 1, 2), (1, 0, 2), (0, 1, 3))
    }
    assert len(digests) == 3


def test_of_equal_scores_the_earlier_is_kept():
    assert best_and_first(np.array([0, 2, 2, 2], np.float32), 2) == [0, 1, 2]
    assert best_and_first(np.empty(0, np.float32), 2) == []
