"""Boxes: one order, on frames that are not square."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import geometry as g

WIDTH, HEIGHT = 640, 360


@st.composite
def boxes(draw):
    x1, y1 = draw(st.integers(0, WIDTH - 2)), draw(st.integers(0, HEIGHT - 2))
    return (x1, y1, draw(st.integers(x1 + 1, WIDTH)), draw(st.integers(y1 + 1, HEIGHT)))


@given(boxes(), boxes())
def test_iou_is_symmetric_and_bounded(a, b):
    assert g.iou(a, b) == g.iou(b, a)
    assert 0 <= g.iou(a, b) <= 1
    assert g.iou(a, a) == 1


@given(boxes())
def test_norm_and_back_is_the_same_box(box):
    assert g.to_px(g.to_norm(box, WIDTH, HEIGHT), WIDTH, HEIGHT) == box


@given(boxes(), st.sampled_from([0.5, 0.8, 1.0, 1.5, 16 / 9]))
def test_snapping_gives_the_aspect_inside_the_frame(box, ratio):
    snapped = g.snap_aspect(box, ratio, WIDTH, HEIGHT)
    assert g.aspect(snapped) == pytest.approx(ratio)
    assert snapped[0] >= 0 and snapped[1] >= 0
    assert snapped[2] <= WIDTH + 1e-6 and snapped[3] <= HEIGHT + 1e-6
    assert g.area(snapped) <= g.area(box) * (1 + 1e-9)


@given(boxes(), st.sampled_from([1.0, 0.8, 4 / 3, 2 / 3, 16 / 9, 9 / 16, 2.35]))
def test_whole_pixels_are_nearest_to_the_aspect(box, ratio):
    for x1, y1, x2, y2 in g.to_px_at(g.to_norm(box, WIDTH, HEIGHT), ratio, WIDTH, HEIGHT):
        assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT
        width, height = x2 - x1, y2 - y1
        assert abs(width - height * ratio) <= 0.5 * max(1, ratio) + 1e-9
        assert abs(height - width / ratio) <= 0.5 * max(1, 1 / ratio) + 1e-9


def test_a_box_of_the_aspect_stays_as_it_is():
    assert g.to_px_at((0.25, 0, 0.75, 320 / 360), 1.0, WIDTH, HEIGHT)[0] == (160, 0, 480, 320)
    assert g.to_px_at((0, 0, 1, 1), 1.0, 3, 900)[0][3] == 451


@given(boxes(), st.integers(-500, 500), st.integers(-500, 500))
def test_shifting_inside_keeps_the_size(box, dx, dy):
    moved = g.shift_inside((box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy), WIDTH, HEIGHT)
    assert moved[2] - moved[0] == box[2] - box[0]
    assert moved[3] - moved[1] == box[3] - box[1]
    assert moved[0] >= 0 and moved[1] >= 0 and moved[2] <= WIDTH and moved[3] <= HEIGHT


def test_displacement_divides_x_by_width_and_y_by_height():
    whole, right_half = (0, 0, 200, 100), (100, 0, 200, 100)
    assert g.displacement(whole, right_half, 200, 100) == pytest.approx(0.5 / 4)
    lower_half = (0, 50, 200, 100)
    assert g.displacement(whole, lower_half, 200, 100) == pytest.approx(0.5 / 4)


def test_empty_boxes_have_no_area_and_no_iou():
    assert g.area((5, 5, 5, 9)) == 0
    assert g.area((5, 5, 3, 9)) == 0
    assert g.iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    assert g.cover((5, 5, 5, 5), (0, 0, 9, 9)) == 0


def test_distinct_means_below_the_limit():
    assert g.is_distinct((0, 0, 10, 10), [(20, 20, 30, 30)], 0.5)
    assert not g.is_distinct((0, 0, 10, 10), [(0, 0, 10, 10)], 0.5)
