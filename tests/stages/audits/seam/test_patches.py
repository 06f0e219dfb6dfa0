"""Patches lie where they say, and of each canvas as many on the one side as on the other."""

import numpy as np
import pytest

from stages.audits.seam.patches import LabelledCanvas, everywhere, lines, mask_of, sides

BOX = (33, 20, 97, 60)


def scene(key="a-00", width=150, height=90, box=BOX):
    """Red is the photo."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2], 0] = 200
    return LabelledCanvas(key, key[0], pixels, mask_of(box, width, height))


def test_sides_are_pure_and_balanced():
    patches = sides([scene(), scene("b-00")], 16, 5, 0)
    red = patches.pixels[..., 0] == 200
    assert (red.all(axis=(1, 2)) == patches.target).all()
    assert (red.any(axis=(1, 2)) == patches.target).all()
    assert patches.target.sum() * 2 == len(patches) == 20
    assert set(patches.photos) == {"a", "b"}
    assert (patches.corner % 8 == 0).all()


def test_lines_run_through_the_middle_from_top_to_bottom():
    patches = lines([scene()], 16, 6, 0)
    red = patches.pixels[..., 0] == 200
    halves = np.stack([red[:, :, :8].mean(axis=(1, 2)), red[:, :, 8:].mean(axis=(1, 2))], axis=1)
    assert (halves[patches.target].sum(axis=1) == 1).all()
    assert ((halves[patches.target] == 0) | (halves[patches.target] == 1)).all()
    whole = halves[~patches.target].sum(axis=1)
    assert ((whole == 0) | (whole == 2)).all()
    assert patches.target.sum() * 2 == len(patches) > 0


def test_a_photo_at_the_edge_has_no_line_there():
    patches = lines([scene(box=(0, 0, 150, 45))], 16, 99, 0)
    assert patches.target.any()
    red = patches.pixels[patches.target][..., 0] == 200
    assert (red.mean(axis=(1, 2)) == 0.5).all()


def test_everywhere_covers_the_canvas():
    patches = everywhere(scene(), 16)
    assert len(patches) == len(range(0, 150 - 15, 8)) * len(range(0, 90 - 15, 8))
    assert patches.corner.max(axis=0).tolist() == [128, 72]
    assert patches.target.any() and not patches.target.all()


@pytest.mark.parametrize("make", [sides, lines])
def test_a_canvas_that_is_smaller_than_a_patch_gives_none(make):
    assert len(make([scene(width=12, height=30, box=(2, 2, 9, 9))], 16, 5, 0)) == 0
    assert len(make([], 16, 5, 0)) == 0


def test_patches_depend_on_the_seed_alone():
    first, again, other = (sides([scene()], 16, 3, seed) for seed in (0, 0, 1))
    assert (first.corner == again.corner).all()
    assert (first.corner != other.corner).any()
