import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import area
from stages.canvases.placement import PlacementSettings, place

PHOTOS = [(1600, 900), (900, 1600), (640, 480), (3000, 1000)]


def draws(count=300, **changes):
    settings = PlacementSettings(**changes)
    return [(photo, place(photo, 256, settings, seed)) for seed in range(count) for photo in PHOTOS]


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


def test_no_side_exceeds_its_share_of_the_canvas():
    for _, drawn in draws(100, area=(0.9, 1.0), max_side=0.5):
        x1, y1, x2, y2 = drawn.box_px
        assert x2 - x1 <= 0.5 * drawn.size[0] + 1 and y2 - y1 <= 0.5 * drawn.size[1] + 1


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.0, 0.1), (1.0, 1.0, 1.0)])
def test_some_photos_touch_an_edge_of_their_canvas(share, least, most):
    touching = [
        box[0] == 0 or box[1] == 0 or box[2] == drawn.size[0] or box[3] == drawn.size[1]
        for _, drawn in draws(edge_share=share)
        for box in [drawn.box_px]
    ]
    assert least <= sum(touching) / len(touching) <= most


def test_another_seed_gives_another_placement():
    assert len({place((640, 480), 256, PlacementSettings(), seed) for seed in range(20)}) > 15
