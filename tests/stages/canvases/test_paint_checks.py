"""Likeness of paint to the subject, against the plain definition of normalised correlation; non-square throughout."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.geometry import cover
from stages.canvases.paint_checks import PaintCheckSettings, _correlations, _mostly_paint, measure


def test_correlations_are_those_of_each_window():
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 255, (18, 27)).astype(np.float64)
    template = picture[4:11, 9:18].astype(np.float32)
    found = _correlations(picture, template)
    assert found.shape == (18 - 7 + 1, 27 - 9 + 1)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            window = picture[row : row + 7, column : column + 9]
            assert found[row, column] == pytest.approx(np.corrcoef(window.ravel(), template.ravel())[0, 1], abs=1e-4)
    assert np.unravel_index(found.argmax(), found.shape) == (4, 9)


def test_windows_mostly_in_the_photo_do_not_count():
    paint = _mostly_paint((20, 30), (6, 8), [10.5, 4.0, 25.0, 17.0])
    for row in range(paint.shape[0]):
        for column in range(paint.shape[1]):
            share = cover((column, row, column + 8, row + 6), (10.5, 4.0, 25.0, 17.0))
            assert paint[row, column] == (share < 0.4)


def test_a_copied_subject_in_the_paint_is_detected_noise_is_not():
    rng = np.random.default_rng(5)
    canvas = rng.integers(100, 120, (48, 64, 3), dtype=np.uint8)
    subject = rng.integers(0, 255, (14, 11, 1), dtype=np.uint8)
    canvas[20:34, 40:51] = subject
    box, own = (30, 5, 64, 45), (40, 20, 51, 34)
    assert measure(canvas, box, own).repeat_correlation < 0.6
    canvas[12:26, 8:19] = subject
    assert measure(canvas, box, own).repeat_correlation > 0.92


def test_a_mirrored_subject_is_looked_for_only_when_asked():
    rng = np.random.default_rng(6)
    canvas = rng.integers(100, 120, (48, 64, 3), dtype=np.uint8)
    subject = rng.integers(0, 255, (14, 11, 1), dtype=np.uint8)
    canvas[20:34, 40:51], canvas[12:26, 8:19] = subject, subject[:, ::-1]
    where = (30, 5, 64, 45), (40, 20, 51, 34)
    both, exact = measure(canvas, *where), measure(canvas, *where, mirrored=False)
    assert both.mirror_correlation > 0.92 > exact.mirror_correlation == 0
    assert exact == replace(both, mirror_correlation=0.0)
    assert PaintCheckSettings(mirror_correlation=0.9).mirror_in_use
    assert not PaintCheckSettings().mirror_in_use


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
