"""Placement, seam, checks, subject mass: on canvases that are not square."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import area
from stages.canvases.paint_checks import PaintCheckSettings, measure
from stages.canvases.placement import PlacementSettings, place
from stages.canvases.seam_treatment import SeamSettings, paste
from stages.canvases.subject_mask_grid import SubjectGrid, pack


@settings(deadline=None)
@given(st.integers(500, 2000), st.integers(500, 2000), st.integers(0, 10_000))
def test_a_photo_lies_on_its_canvas_with_its_aspect(width, height, seed):
    drawn = place((width, height), 192, PlacementSettings(), seed)
    x1, y1, x2, y2 = drawn.box_px
    assert 0 <= x1 < x2 <= drawn.size[0] and 0 <= y1 < y2 <= drawn.size[1]
    assert max(drawn.size) == 192
    assert abs((x2 - x1) / (y2 - y1) - width / height) <= (1 + width / height) / (y2 - y1)
    assert (x2 - x1) <= 0.9 * drawn.size[0] + 1 and (y2 - y1) <= 0.9 * drawn.size[1] + 1
    assert place((width, height), 192, PlacementSettings(), seed) == drawn


def test_the_drawn_areas_cover_the_stated_range():
    drawn = [place((300, 200), 192, PlacementSettings(area=(0.2, 0.6)), seed) for seed in range(300)]
    shares = [area(d.box_px) / (d.size[0] * d.size[1]) for d in drawn]
    assert min(shares) < 0.25 and max(shares) > 0.55 and max(shares) < 0.62
    touching = [
        d for d in drawn if d.box_px[0] == 0 or d.box_px[1] == 0 or d.box_px[2] == d.size[0] or d.box_px[3] == d.size[1]
    ]
    assert 0.18 < len(touching) / 300 < 0.40


def test_pasting_keeps_the_photo_but_for_the_feather():
    painted, photo = np.zeros((60, 100, 3), np.uint8), np.full((30, 40, 3), 200, np.uint8)
    canvas = paste(painted, photo, (0, 10, 40, 40), SeamSettings(feather_px=2))
    assert (canvas[12:38, 0:38] == 200).all()  # the left side lies on the canvas's edge: nothing to blend with
    assert (canvas[10, 5] < canvas[11, 5]).all() and (canvas[11, 5] < 200).all()
    assert (canvas[:10] == 0).all() and (canvas[:, 40:] == 0).all()
    hard = paste(painted, photo, (0, 10, 40, 40), SeamSettings(feather_px=0))
    assert (hard[10:40, 0:40] == 200).all()


def test_checks_catch_what_they_name_and_pass_what_is_good():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(0, 0.2, (96, 144, 3)), axis=0), axis=1)
    good = np.clip(128 + smooth * 6, 0, 255).astype(np.uint8)
    box, limits = (30, 20, 100, 70), PaintCheckSettings()
    assert measure(good, box, None).reject(limits) is None
    blank = np.full_like(good, 90)
    blank[20:70, 30:100] = good[20:70, 30:100]
    assert measure(blank, box, None).reject(limits)[0] == "blank"
    seam = good.astype(int) // 4
    seam[20:70, 30:100] += 150
    assert measure(seam.astype(np.uint8), box, None).reject(limits)[0] == "seam_visible"
    small = good[::2, ::2][:48, :64]  # at the size that the check works at, so that a copy is an exact one
    assert measure(small, (4, 4, 30, 30), (8, 8, 24, 24)).repeat_correlation < 0.92
    twin = small.copy()
    twin[30:46, 40:56] = small[8:24, 8:24]
    assert measure(twin, (4, 4, 30, 30), (8, 8, 24, 24)).reject(limits)[0] == "repeats_photo"
    mirrored = small.copy()
    mirrored[30:46, 40:56] = small[8:24, 8:24][:, ::-1]
    measured = measure(mirrored, (4, 4, 30, 30), (8, 8, 24, 24))
    assert measured.repeat_correlation < 0.92 < measured.mirror_correlation
    assert measured.reject(limits) is None
    assert measured.reject(PaintCheckSettings(mirror_correlation=0.92))[0] == "repeats_photo"


@given(st.integers(0, 180), st.integers(0, 80), st.integers(1, 60), st.integers(1, 40))
def test_subject_mass_is_what_lies_inside(x, y, w, h):
    mask = np.zeros((120, 240), np.float32)
    mask[30:90, 60:180] = 1
    grid = SubjectGrid(pack(mask), 240, 120)
    box = (x, y, min(240, x + w), min(120, y + h))
    true = mask[box[1] : box[3], box[0] : box[2]].sum() / mask.sum()
    assert grid.kept([box])[0] == pytest.approx(true, abs=0.03)
    assert grid.kept([(0, 0, 240, 120)])[0] == pytest.approx(1)


def test_without_a_subject_nothing_is_lost():
    grid = SubjectGrid(pack(np.zeros((10, 20), np.float32)), 20, 10)
    assert grid.kept([(0, 0, 1, 1), (5, 5, 9, 9)]) == [1.0, 1.0]
