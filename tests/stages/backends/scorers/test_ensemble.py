import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.core.errors import ModelError, UsageError
from pipeline.planning.recipe_files import parse
from stages.backends.base.picture import LazyPicture
from stages.backends.registry import ModelSettings
from stages.backends.scorers.ensemble import EnsembleScorer
from stages.backends.scorers.two_pass import PrescoredScorer, best_and_first, rank_correlation
from tests.fakes import FakeScorer


class Linear(FakeScorer):
    """a + b times what the stand-in says; counts the boxes that it was shown."""

    def __init__(self, a, b, name):
        super().__init__(name=name, licence=f"licence of {name}", digest=f"digest of {name}")
        self.a, self.b, self.seen = a, b, 0

    def score(self, pictures, boxes):
        self.seen += sum(len(found) for found in boxes)
        return [(self.a + self.b * s).astype(np.float32) for s in super().score(pictures, boxes)]


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    images = [np.zeros((60, 90, 3), np.uint8), np.zeros((90, 60, 3), np.uint8)]
    boxes = []
    for _ in images:
        low, extent = rng.uniform(0, 25, (20, 2)), rng.uniform(10, 35, (20, 2))
        boxes.append(np.concatenate([low, low + extent], 1).astype(np.float32))
    return [LazyPicture.of(image) for image in images], boxes


def calibrated(members, weights, path, sample):
    scorer = EnsembleScorer(members, weights, path)
    path.write_text(json.dumps(scorer.calibrate(*sample)))
    return scorer


def test_members_of_other_scales_weigh_the_same(tmp_path, sample):
    twins = [Linear(0, 1, "a"), Linear(3, 0.01, "b")]
    scorer = calibrated(twins, [1, 1], tmp_path / "c.json", sample)
    alone = calibrated(twins[:1], [1], tmp_path / "d.json", sample)
    for both, one in zip(scorer.score(*sample), alone.score(*sample), strict=True):
        np.testing.assert_allclose(both, one, atol=2e-3)
    scores = np.concatenate(scorer.score(*sample))
    assert scores.mean() == pytest.approx(5, abs=0.05) and scores.std() == pytest.approx(2, abs=0.1)


def test_weights_decide_between_members_that_disagree(tmp_path, sample):
    up, down = Linear(0, 1, "up"), Linear(9, -1, "down")
    scorer = calibrated([up, down], [3, 1], tmp_path / "c.json", sample)
    order = np.concatenate(scorer.score(*sample)).argsort()
    assert (order == np.concatenate(up.score(*sample)).argsort()).mean() > 0.9
    even = calibrated([up, down], [1, 1], tmp_path / "d.json", sample)
    np.testing.assert_allclose(np.concatenate(even.score(*sample)), 5, atol=1e-3)


def test_a_batch_equals_singles(tmp_path, sample):
    scorer = calibrated([Linear(0, 1, "a"), Linear(1, 2, "b")], [1, 2], tmp_path / "c.json", sample)
    for image, found, scores in zip(*sample, scorer.score(*sample), strict=True):
        np.testing.assert_array_equal(scorer.score([image], [found])[0], scores)
    assert scorer.score([], []) == []


def test_without_its_calibration_it_says_what_to_do(tmp_path, sample):
    path = tmp_path / "c.json"
    scorer = EnsembleScorer([Linear(0, 1, "a")], [1], path)
    before = scorer.digest
    with pytest.raises(ModelError, match="models --calibrate"):
        scorer.score(*sample)
    path.write_text(json.dumps(scorer.calibrate(*sample)))
    assert scorer.digest != before
    with pytest.raises(ModelError, match="not of these scorers"):
        EnsembleScorer([Linear(0, 1, "another")], [1], path).score(*sample)
    with pytest.raises(ModelError, match="same score"):
        EnsembleScorer([Linear(0, 0, "flat")], [1], path).calibrate(*sample)
    assert scorer.licence == "licence of a"


def test_only_the_best_and_the_first_are_looked_at_closely(sample):
    full, cheap = Linear(0.5, 0.9, "full"), Linear(0, 1, "cheap")
    scorer = PrescoredScorer(full, cheap, 5)
    found = scorer.score(*sample)
    all_full, all_cheap = Linear(0.5, 0.9, "").score(*sample), Linear(0, 1, "").score(*sample)
    assert full.seen <= 12 and [len(s) for s in found] == [20, 20]
    for scores, true, rough in zip(found, all_full, all_cheap, strict=True):
        chosen = best_and_first(rough, 5)
        np.testing.assert_array_equal(scores[chosen], true[chosen])
        others = np.setdiff1d(np.arange(20), chosen)
        assert scores[others].max() < scores[chosen].min()
        ranks = np.argsort(scores[others]), np.argsort(rough[others])
        assert np.array_equal(*ranks) or (np.diff(np.sort(scores[others])) == 0).any()
    agreement, pictures = scorer.agreement
    assert agreement == pytest.approx(1) and pictures == 2
    assert (scorer.score(*sample)[0] >= 0).all() and scorer.digest != full.digest


def test_rank_correlation_is_spearmans_with_ties():
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 6, (2, 12)).astype(np.float32)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_all_are_kept_when_there_are_few(sample):
    full = Linear(0.5, 0.9, "full")
    scorer = PrescoredScorer(full, Linear(0, 1, "cheap"), 50)
    for one, other in zip(scorer.score(*sample), Linear(0.5, 0.9, "").score(*sample), strict=True):
        np.testing.assert_array_equal(one, other)
    assert scorer.score([sample[0][0]], [np.empty((0, 4), np.float32)])[0].shape == (0,)
    assert np.isnan(PrescoredScorer(full, full, 1).agreement[0])


def test_a_recipe_names_its_members(tmp_path):
    chosen = {"kind": "ensemble", "members": [{"kind": "composition"}, {"kind": "laion", "head": "h.pth"}], "keep": 8}
    scorer = ModelSettings.model_validate({"scorer": chosen}).scorer.build()
    assert "best 8" in scorer.name and "laion-aesthetic" in scorer.name and "MIT" in scorer.licence
    with pytest.raises(ModelError, match="2 members and 1 weights"):
        ModelSettings.model_validate({"scorer": {**chosen, "weights": [1.0]}}).scorer.build()
    with pytest.raises(UsageError, match="members"):
        parse(ModelSettings, {"scorer": {"kind": "ensemble", "members": []}}, "x")
