"""The controls in miniature: probes find nothing where nothing is, and what anybody sees; the same seed, the same figures."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages.audits.seam.features import features_of, line_features_of
from stages.audits.seam.patches import LabelledCanvas, lines, mask_of, sides
from stages.audits.seam.probes import auc, auc_by_photo, folds_of, network, out_of_fold
from stages.audits.seam.run import AuditSettings, controls_hold, probe

QUICK = AuditSettings(most=12, draws=100, network=False)


def scenes(change, photos=16, width=120, height=80):
    """Textures, each photo of its own sharpness; ``change`` (picture -> picture) is applied outside a rectangle, which is
    half a picture further in every other scene.
    """
    found = []
    for number in range(photos):
        rng = np.random.default_rng(number)
        raw = Image.fromarray(rng.integers(0, 255, (height, width, 3)).astype(np.uint8))
        picture = raw.filter(ImageFilter.GaussianBlur(0.4 + 0.6 * rng.random()))
        inside = mask_of((30, 16, 90, 64), width, height)
        inside = np.roll(inside, (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
        for variant in range(2):
            inside = np.roll(inside, (height // 2, width // 2), (0, 1))
            mixed = np.where(inside[..., None], np.asarray(picture), np.asarray(change(picture)))
            found.append(LabelledCanvas(f"{number:02d}-{variant:02d}", f"{number:02d}", mixed, inside))
    return found


def blurred(picture):
    return picture.filter(ImageFilter.GaussianBlur(1.5))


def test_a_random_box_is_chance_and_a_blurred_border_is_seen():
    nothing, plain = probe(scenes(lambda p: p), 16, QUICK), probe(scenes(blurred), 16, QUICK)
    for name in ("logistic", "line"):
        assert nothing[name][1] <= 0.5 <= nothing[name][2], name
        assert plain[name][0] > 0.95, name
    assert plain["within"] > 0.95
    assert controls_hold({"random": nothing, "blurred": plain})
    assert not controls_hold({"random": plain, "blurred": plain})
    assert not controls_hold({"random": nothing, "blurred": nothing})


def test_the_network_finds_a_blurred_border_and_repeats_itself():
    patches = sides(scenes(blurred, photos=8), 16, 8, 0)
    folds = folds_of(patches.photos, 2, 0)
    scores = out_of_fold(network(patches, 0, epochs=6), folds)
    assert auc(scores, patches.target) > 0.95
    assert (scores == out_of_fold(network(patches, 0, epochs=6), folds)).all()


def test_the_same_seed_gives_the_same_figures():
    some = scenes(blurred, photos=10)
    assert probe(some, 16, QUICK) == probe(some, 16, QUICK)


def test_a_probe_is_never_asked_about_a_photo_that_it_has_seen():
    patches = sides(scenes(blurred, photos=9), 16, 4, 0)
    folds = folds_of(patches.photos, 3, 0)
    asked = []

    def spy(train, test):
        assert not set(patches.photos[train]) & set(patches.photos[test])
        asked.extend(test.tolist())
        return np.zeros(len(test))

    out_of_fold(spy, folds)
    assert sorted(asked) == list(range(len(patches)))
    assert {len(set(patches.photos[folds == fold])) for fold in range(3)} == {3}


def test_features_are_finite_on_flat_and_on_clipped_patches():
    flat = np.full((80, 120, 3), 255, np.uint8)
    flat[:, 60:] = 0
    scene = LabelledCanvas("a-00", "a", flat, mask_of((60, 0, 120, 80), 120, 80))
    for found in (features_of(sides([scene], 16, 9, 0)), line_features_of(lines([scene], 16, 9, 0))):
        assert len(found)
        assert np.isfinite(found).all()


def test_auc_counts_ties_half_and_agrees_with_pairs():
    target = np.array([True, False, True, False, False])
    scores = np.array([2.0, 2.0, 3.0, 1.0, 3.0])
    pairs = [(a > b) + (a == b) / 2 for a in scores[target] for b in scores[~target]]
    assert auc(scores, target) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(scores, np.ones(5, bool)))


def test_the_interval_holds_the_value_and_is_drawn_by_photo():
    rng = np.random.default_rng(0)
    target = rng.random(600) < 0.5
    scores = target + rng.normal(0, 2, 600)
    photos = np.repeat([f"{n:02d}" for n in range(20)], 30)
    value, low, high = auc_by_photo(scores, target, photos, 300, 0)
    assert low < value < high
    copies = [np.tile(x, 4) for x in (scores, target, photos)]
    assert auc_by_photo(*copies, 300, 0) == pytest.approx((value, low, high))
