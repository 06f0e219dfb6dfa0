import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.backends.base.picture import mask_grid
from stages.canvases.subject_mask_grid import SubjectGrid

WIDTH, HEIGHT = 192, 96


def grid_of(x1, y1, x2, y2):
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[y1:y2, x1:x2] = 1
    return SubjectGrid(mask_grid(mask), WIDTH, HEIGHT)


def test_a_box_keeps_the_share_of_the_subject_inside_it():
    grid = grid_of(48, 24, 144, 72)
    boxes = [(0, 0, WIDTH, HEIGHT), (48, 24, 144, 72), (0, 0, 96, HEIGHT), (96, 48, WIDTH, HEIGHT), (0, 0, 40, 20)]
    assert grid.kept(boxes) == pytest.approx([1, 1, 0.5, 0.25, 0], abs=0.02)


def test_shares_of_complementary_boxes_add_up():
    grid = grid_of(30, 10, 111, 77)
    for x in (17.5, 64.25, 100.0):
        assert sum(grid.kept([(0, 0, x, HEIGHT), (x, 0, WIDTH, HEIGHT)])) == pytest.approx(1)


def test_boxes_beyond_the_canvas_count_only_what_is_on_it():
    assert grid_of(0, 0, 40, 40).kept([(-50, -50, 400, 400)]) == [1.0]


@given(st.integers(0, 180), st.integers(0, 80), st.integers(1, 60), st.integers(1, 40))
def test_subject_mass_is_what_lies_inside(x, y, w, h):
    mask = np.zeros((120, 240), np.float32)
    mask[30:90, 60:180] = 1
    grid = SubjectGrid(mask_grid(mask), 240, 120)
    box = (x, y, min(240, x + w), min(120, y + h))
    true = mask[box[1] : box[3], box[0] : box[2]].sum() / mask.sum()
    assert grid.kept([box])[0] == pytest.approx(true, abs=0.03)
    assert grid.kept([(0, 0, 240, 120)])[0] == pytest.approx(1)


def test_a_canvas_without_a_subject_keeps_all_of_it():
    grid = SubjectGrid(mask_grid(np.zeros((HEIGHT, WIDTH), np.float32)), WIDTH, HEIGHT)
    assert grid.total == 0 and grid.kept([(0, 0, 10, 10), (5, 5, 6, 6)]) == [1.0, 1.0]
    assert grid.kept([]) == []
