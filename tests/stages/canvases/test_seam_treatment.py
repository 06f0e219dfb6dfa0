"""Seam treatments: they keep sizes and the photo's box, cost what they say, and do nothing unless asked."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.planning.recipe_files import read_recipe_mapping
from stages.canvases.detail_match import matched
from stages.canvases.seam_treatment import UNTREATED, SeamSettings, degrade, enlarged, kept_psnr, paste, treat
from stages.recipe import Recipe

SIZE, BOX = (90, 60), (20, 10, 60, 50)


def texture(height, width, contrast, seed=0):
    values = 128 + contrast * np.random.default_rng(seed).standard_normal((height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.fixture
def painted():
    return texture(60, 90, 5)


@pytest.fixture
def photo():
    return texture(40, 40, 30, seed=1)


def treated(painted, photo, box=BOX, size=SIZE, **settings):
    return treat(painted, photo, box, UNTREATED.model_copy(update=settings), size=size, seed=7)


def test_nothing_is_done_unless_asked(painted, photo):
    out = treated(painted, photo)
    assert (out[10:50, 20:60] == photo).all()
    assert (out[:10] == painted[:10]).all()
    assert UNTREATED.words == "feather 0"
    assert kept_psnr(out, photo, BOX) == 99.0


def test_words_name_all_that_is_in_use():
    assert SeamSettings(match=0.7, noise=6).words == "feather 2, match 0.7, noise 6.0"
    assert UNTREATED.model_copy(update={"keep": "painter"}).words == "feather 0, keep painter"


def test_the_default_recipe_names_the_default_seam_treatment():
    default = Recipe.model_validate(read_recipe_mapping("default")).outpaint.seam
    assert default == SeamSettings()
    assert {"match", "noise"} <= set(read_recipe_mapping("default")["outpaint"]["seam"])
    assert f"match {default.match}, noise {default.noise}" in default.words


@pytest.mark.parametrize("wrong", [{"noise": -1}, {"match": 2}, {"scale": 0.5}, {"jpeg_quality": 0}, {"keep": "both"}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        SeamSettings(**wrong)


def test_detail_matching_changes_the_paint_and_not_the_photo(painted, photo):
    out = treated(painted, photo, match=1)
    assert (out[10:50, 20:60] == photo).all()
    before, after = (picture[:, 66:].astype(float).std() for picture in (painted, out))
    assert after > 1.5 * before
    half = treated(painted, photo, match=0.5)[:, 66:].astype(float).std()
    assert before < half < after


def test_matching_also_softens_paint_that_is_too_sharp(photo):
    sharp = texture(60, 90, 40)
    out = treated(sharp, texture(40, 40, 20, seed=1), match=1)
    assert out[:, 66:].astype(float).std() < 0.95 * sharp[:, 66:].astype(float).std()


def test_without_paint_or_photo_there_is_nothing_to_match(painted):
    canvas = painted.astype(np.float32)
    assert (matched(canvas, np.ones((60, 90), bool), 1.0) == canvas).all()
    assert (matched(canvas, np.zeros((60, 90), bool), 1.0) == canvas).all()


@pytest.mark.parametrize(("settings", "least", "most"), [({"noise": 4.0}, 35, 37), ({"blur_px": 1.0}, 10, 25)])
def test_what_is_done_to_both_sides_costs_the_photo(painted, photo, settings, least, most):
    out = treated(painted, photo, **settings)
    assert out.shape == (60, 90, 3)
    assert least < kept_psnr(out, photo, BOX) < most


def test_grain_follows_from_the_seed(painted):
    grainy = [degrade(painted, UNTREATED.model_copy(update={"noise": 4.0}), seed) for seed in (1, 1, 2)]
    assert (grainy[0] == grainy[1]).all()
    assert (grainy[0] != grainy[2]).any()


def test_a_painter_may_keep_its_own_rendering_of_the_photo(painted, photo):
    assert (treated(painted, photo, keep="painter") == painted).all()


@pytest.mark.parametrize("scale", [1.5, 2.0])
def test_a_canvas_painted_larger_is_stored_at_its_size(scale):
    box, size = enlarged(BOX, SIZE, scale)
    painted = np.zeros((size[1], size[0], 3), np.uint8)
    photo = np.full((box[3] - box[1], box[2] - box[0], 3), 255, np.uint8)
    out = treated(painted, photo, box=box, scale=scale)
    assert out.shape == (60, 90, 3)
    assert (out[12:48, 22:58] > 245).all()
    assert (out[:8] < 10).all()
    assert (out[:, 62:] < 10).all()


def test_pasting_keeps_the_photo_but_for_the_feather():
    painted, photo = np.zeros((60, 100, 3), np.uint8), np.full((30, 40, 3), 200, np.uint8)
    canvas = paste(painted, photo, (0, 10, 40, 40), SeamSettings(feather_px=2))
    assert (canvas[12:38, 0:38] == 200).all()  # the left side lies on the canvas's edge: nothing to blend with
    assert (canvas[10, 5] < canvas[11, 5]).all() and (canvas[11, 5] < 200).all()
    assert (canvas[:10] == 0).all() and (canvas[:, 40:] == 0).all()
    hard = paste(painted, photo, (0, 10, 40, 40), SeamSettings(feather_px=0))
    assert (hard[10:40, 0:40] == 200).all()
