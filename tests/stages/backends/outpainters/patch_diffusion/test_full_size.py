"""The scales that only copy: what they add is the photo's own detail, at the places where its patches were found."""

import torch

from stages.backends.outpainters.patch_diffusion import matches, pyramid
from stages.backends.outpainters.patch_diffusion.full_size import at_full_size
from stages.backends.outpainters.patch_diffusion.scene import Scene
from stages.backends.outpainters.patch_diffusion.search import KEEP, Carried
from stages.backends.outpainters.patch_diffusion.sources import collect

SIZE, BOX, SEARCH = (300, 210), (60, 40, 240, 170), 96  # not square, nor a multiple of the searched side


def texture(height, width, seed=0):
    """White noise [1, 3, height, width]: all of it is detail."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def scene_of(photo):
    return Scene(photo, torch.zeros_like(photo[:, :1]), BOX, SIZE)


def in_place(scene, side=SEARCH):
    """A searched scale whose every patch was found where it lies."""
    level = pyramid.level(pyramid.shrunk(scene, side), 1.0, 2)
    sources = collect(level)
    found = matches.in_place(level, sources.grid)[..., None].repeat(1, 1, KEEP)
    return Carried(found, sources, level)


def test_a_photo_continued_by_itself_is_restored():
    photo = texture(BOX[3] - BOX[1], BOX[2] - BOX[0])
    scene = scene_of(photo)
    carried = in_place(scene)
    coarse = carried.level.canvas()[:, :, : carried.level.true_size[0], : carried.level.true_size[1]]
    canvas = at_full_size(scene, coarse, carried)
    x1, y1, x2, y2 = BOX
    assert canvas.shape == (1, 3, SIZE[1], SIZE[0])
    torch.testing.assert_close(canvas[:, :, y1:y2, x1:x2], photo, rtol=0, atol=0)
    # Beside the frame the matches are clamped to the photo's edge, so the paint there has its detail and no more.
    beside = canvas[:, :, y1:y2, x2 : x2 + 20]
    assert 0.3 < float(beside.std() / photo.std()) < 1.2


def test_the_detail_of_a_patch_comes_from_its_match():
    photo = torch.zeros(1, 3, BOX[3] - BOX[1], BOX[2] - BOX[0])
    photo[:, :, 60:120, 20:80] = texture(60, 60)  # the only detail there is
    scene = scene_of(photo)
    carried = in_place(scene)
    factor = SIZE[0] / carried.level.true_size[1]
    flat = torch.zeros(1, 3, *carried.level.true_size)
    assert float(at_full_size(scene, flat, carried)[:, :, :, : BOX[0]].std()) < 0.05  # the photo's left edge is even
    _, columns = carried.sources.grid[1:]
    left = carried.matches.clone()
    left[:, : int(BOX[0] / factor / 2) - 3] = int(70 / factor) * columns + int(30 / factor)
    canvas = at_full_size(scene, flat, Carried(left, carried.sources, carried.level))
    assert float(canvas[:, :, 60:120, 10:40].std()) > 0.2


def test_time_grows_with_the_pixels_alone():
    """The same searched scale serves any size, and the photo keeps its pixels at each."""
    for scale in (2, 5):
        size, box = (96 * scale, 72 * scale), (24 * scale, 18 * scale, 72 * scale, 60 * scale)
        photo = texture(42 * scale, 48 * scale)
        scene = Scene(photo, torch.zeros_like(photo[:, :1]), box, size)
        carried = in_place(scene)
        assert carried.level.true_size == (72, 96)
        canvas = at_full_size(scene, torch.zeros(1, 3, 72, 96), carried)
        torch.testing.assert_close(canvas[:, :, box[1] : box[3], box[0] : box[2]], photo, rtol=0, atol=0)
