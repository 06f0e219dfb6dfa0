import numpy as np
import pytest

from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.diffusion.framing import bucket_of, buckets, coloured, framed

ASPECTS = (1.7778, 1.0, 0.5625)


def request(box, size, regions=None):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (box[3] - box[1], box[2] - box[0], 3), dtype=np.uint8)
    return PaintRequest(photo, None, box, size, 0, regions=regions)


def test_buckets_have_the_area_and_are_whole_multiples():
    sizes = buckets(512, 64, ASPECTS)
    assert sizes == sorted(set(sizes)) and len(sizes) == 3
    for width, height in sizes:
        assert width % 64 == height % 64 == 0 and abs(width * height / 512**2 - 1) < 0.15


@pytest.mark.parametrize(("size", "bucket"), [((160, 90), (704, 384)), ((300, 310), (512, 512)), ((9, 16), (384, 704))])
def test_a_canvas_takes_the_bucket_of_the_nearest_aspect_ratio(size, bucket):
    assert bucket_of(size, buckets(512, 64, ASPECTS)) == bucket


def test_the_photo_is_known_and_its_edges_are_repeated_outward():
    asked = request((10, 4, 40, 24), (60, 32))
    frame = framed(asked, (60, 32), 0)
    assert frame.image.shape == (32, 60, 3) and frame.control is None
    assert (frame.image[4:24, 10:40] == asked.photo).all()
    assert (frame.image[4:24, :10] == asked.photo[:, :1]).all() and (frame.image[24:, 10:40] == asked.photo[-1:]).all()
    assert (frame.mask == 0).sum() == 20 * 30 and (frame.mask[4:24, 10:40] == 0).all()


def test_the_border_of_the_photo_is_painted_where_it_meets_paint():
    frame = framed(request((0, 4, 40, 24), (60, 32)), (60, 32), 3)
    known = np.argwhere(frame.mask == 0)
    assert known.min(0).tolist() == [7, 0] and known.max(0).tolist() == [20, 36]  # the left side has no paint


def test_a_photo_at_another_size_keeps_its_place():
    frame = framed(request((10, 4, 40, 24), (60, 32)), (120, 64), 0)
    known = np.argwhere(frame.mask == 0)
    assert known.min(0).tolist() == [8, 20] and known.max(0).tolist() == [47, 79]


def test_regions_are_colours_extended_beyond_the_frame():
    labels = np.array([[1, 1, 2], [1, 1, 2]], np.int32)
    frame = framed(request((10, 4, 40, 24), (60, 32), labels), (60, 32), 0)
    left, right = coloured(np.array([[1, 2]], np.int32))[0]
    assert (frame.control[:, 0] == left).all() and (frame.control[:, -1] == right).all()


def test_labels_have_colours_of_their_own_and_none_is_black():
    colours = coloured(np.arange(50, dtype=np.int32)[None])[0]
    assert len(np.unique(colours, axis=0)) == 50 and colours[0].tolist() == [0, 0, 0]
