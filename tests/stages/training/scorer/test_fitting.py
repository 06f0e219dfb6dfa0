import numpy as np
import pytest
import torch

from stages.backends.scorers.composition_model import widths
from stages.training.scorer.fitting import Fit, Pairs, balance, fit_calibration, fit_head
from stages.training.scorer.pairs import INSIDE, KINDS

WIDTH = sum(widths())


def made_pairs(count: int = 200) -> Pairs:
    """Crops whose worth is their last feature."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, WIDTH, generator=generator)
    a, b = torch.randint(0, count, (2, 400), generator=generator)
    better = torch.where(features[a, -1] >= features[b, -1], a, b)
    worse = torch.where(features[a, -1] >= features[b, -1], b, a)
    return Pairs(features, better, worse, torch.zeros(400, dtype=torch.long), torch.arange(400) % 7)


def test_learns_a_ranking_and_is_reproducible() -> None:
    pairs = made_pairs()
    fit = Fit(hidden=8, members=2, steps=60, batch=128, weight_decay=0.1, dropout=(0.1, 0.1, 0.1))
    first, second = fit_head(pairs, fit, seed=3), fit_head(pairs, fit, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with torch.inference_mode():
        raw = first(pairs.features.double())
    assert (raw[pairs.better] > raw[pairs.worse]).float().mean() > 0.85


def test_balance_counts_each_kind_and_photo_alike() -> None:
    pairs = Pairs(
        torch.zeros(1, WIDTH),
        *(torch.zeros(6, dtype=torch.long) for _ in range(2)),
        kind=torch.tensor([0, 0, 0, 1, 1, 1]),
        photo=torch.tensor([0, 0, 1, 0, 1, 1]),
    )
    weights = balance(pairs)
    assert weights[:3].sum() == pytest.approx(1.0) and weights[3:].sum() == pytest.approx(1.0)
    assert weights[2] == pytest.approx(0.5) and weights[3] == pytest.approx(0.5)


def test_pairs_without_paint_weigh_as_much_as_the_others() -> None:
    every = torch.arange(len(KINDS)).repeat(2)
    pairs = Pairs(torch.zeros(1, WIDTH), every, every, kind=every, photo=torch.zeros(len(every), dtype=torch.long))
    weights = balance(pairs)
    assert weights[every == KINDS.index(INSIDE)].sum() == pytest.approx(float(weights.sum()) / 2)


def test_calibration_is_monotone_and_places_bad_crops_and_frames() -> None:
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.2, 1.0, (4, 300))
    boxes = [np.stack([np.zeros(300), np.zeros(300), side, side], 1) for side in sides]
    raw = [3 * np.log(side**2) + rng.normal(0, 0.5, 300) for side in sides]  # larger crops score more
    gaps = rng.normal(2.0, 1.0, 500)
    calibration = fit_calibration(raw, boxes, gaps, np.ones(500), np.arange(500) < 250)
    assert calibration.lead == pytest.approx(gaps[:250].mean() / calibration.scale)
    scores = np.concatenate([calibration.apply(r, b) for r, b in zip(raw, boxes, strict=True)])
    frames = np.concatenate([calibration.apply(r + gaps[:250].mean(), b) for r, b in zip(raw, boxes, strict=True)])
    assert scores.mean() == pytest.approx(2.5, abs=0.5) and frames.mean() == pytest.approx(7.5, abs=0.5)
    assert abs(np.corrcoef(scores, np.concatenate(sides.tolist()))[0, 1]) < 0.1
    one = np.array([[0.0, 0.0, 0.5, 0.5]]).repeat(5, 0)
    assert (np.diff(calibration.apply(np.linspace(-5, 5, 5), one)) > 0).all()


def test_the_scale_of_calibration_makes_gaps_log_odds() -> None:
    rng = np.random.default_rng(1)
    gaps = rng.normal(0, 6, 20_000)
    gaps = np.where(rng.uniform(size=20_000) < 1 / (1 + np.exp(-gaps / 3)), gaps, -gaps)  # better less worse, scale 3
    boxes = np.array([[0, 0, side, side] for side in (0.3, 0.5, 0.7, 0.9)])
    calibration = fit_calibration([np.zeros(4)], [boxes], gaps, np.ones(20_000), gaps > 0)
    assert calibration.scale == pytest.approx(3.0, rel=0.1)
    heavy = fit_calibration([np.zeros(4)], [boxes], gaps, np.where(gaps < 0, 5.0, 1.0), gaps > 0)
    assert heavy.scale > 2 * calibration.scale
