"""Bad input: each odd file is a reject with its word, or handled rightly."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import SampleError
from stages.photos import decode
from stages.photos.decode import PhotoLimits, decode_photo, encode_jpeg

LIMITS = PhotoLimits(min_side=64, max_side=4096, max_pixels=4096 * 4096, max_aspect=4.0)


def picture(width=300, height=200):
    rows = np.linspace(0, 255, height).astype(np.uint8)[:, None, None]
    columns = np.linspace(0, 255, width).astype(np.uint8)[None, :, None]
    return Image.fromarray(np.broadcast_to(rows // 2 + columns // 2, (height, width, 3)).astype(np.uint8).copy())


def saved(image, kind, **options):
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


JPEG = saved(picture(), "JPEG", quality=90)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"hello, I am a text file named photo.jpg\n" * 20, "unreadable"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (saved(picture(), "PNG")[:-400], "truncated"),
        (JPEG[:100], "unreadable"),
        (saved(picture(1, 1), "PNG"), "too_small"),
        (saved(picture(4200, 64 * 20), "JPEG"), "too_large"),
        (saved(picture(600, 100), "JPEG"), "too_long"),
        (saved(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)]), "animated"),
        (saved(picture().convert("RGBA").rotate(45), "PNG"), "bad_mode"),
        (saved(Image.new("F", (300, 200), 0.5), "TIFF"), "bad_mode"),
    ],
)
def test_rejects_with_their_word(data, reason):
    with pytest.raises(SampleError) as caught:
        decode_photo(data, LIMITS)
    assert caught.value.reason == reason


def test_a_bomb_is_refused_before_it_is_decoded():
    limits = PhotoLimits(64, 100_000, 50_000, 4.0)
    with pytest.raises(SampleError) as caught:
        decode_photo(JPEG, limits)
    assert caught.value.reason == "bomb"


def test_a_plain_jpeg_is_untouched():
    assert decode_photo(JPEG, LIMITS).untouched


@pytest.mark.parametrize(
    ("data", "close"),
    [
        (saved(picture().convert("CMYK"), "JPEG", quality=95), 12),
        (saved(picture().convert("P"), "PNG"), 30),
        (saved(picture().convert("L"), "JPEG", quality=95), 6),
        (saved(picture().convert("RGBA"), "PNG"), 0),
        (saved(Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257), "PNG"), 1),
    ],
)
def test_other_modes_become_eight_bit_srgb(data, close):
    decoded = decode_photo(data, LIMITS)
    assert decoded.image.mode == "RGB" and not decoded.untouched
    off = np.abs(np.asarray(decoded.image, int) - np.asarray(picture(), int)).mean()
    assert off <= close


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_photo(saved(picture(), "JPEG", exif=exif, quality=95), LIMITS)
    assert decoded.image.size == ((300, 200) if orientation < 5 else (200, 300))
    assert decoded.untouched == (orientation == 1)
    corner = {1: (0, 0), 2: (299, 0), 3: (299, 199), 4: (0, 199), 5: (0, 0), 6: (199, 0), 7: (199, 299), 8: (0, 299)}
    assert sum(decoded.image.getpixel(corner[orientation])) < 60  # the dark corner of the stored picture


def test_a_broken_colour_profile_does_not_stop_a_photo():
    data = saved(picture(), "JPEG", icc_profile=b"not a profile", quality=95)
    assert decode_photo(data, LIMITS).image.mode == "RGB"


def test_encoding_is_reproducible_and_keeps_colour():
    data = encode_jpeg(picture())
    assert data == encode_jpeg(picture())
    assert Image.open(io.BytesIO(data)).size == (300, 200)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_mark_is_whole(progressive):
    data = saved(picture(), "JPEG", quality=90, progressive=progressive)
    for cut in (data[:-2], data[:-1]):
        decoded = decode_photo(cut, LIMITS)
        assert not decoded.untouched  # its bytes alone are no JPEG
        np.testing.assert_array_equal(np.asarray(decoded.image), np.asarray(decode_photo(data, LIMITS).image))
    for missing in (12, 40, 400):
        with pytest.raises(SampleError) as caught:
            decode_photo(data[:-missing], LIMITS)
        assert caught.value.reason == "truncated"


def test_a_huge_jpeg_is_decoded_at_a_part_of_its_size(monkeypatch):
    monkeypatch.setattr(decode, "MOST_PIXELS", 300 * 200 - 1)
    for long_side, size in ((0, (150, 100)), (64, (150, 100)), (30, (75, 50)), (8, (37, 25))):
        photo = decode_photo(JPEG, replace(LIMITS, long_side=long_side))
        assert photo.image.size == size or abs(photo.image.width - size[0]) <= 1
        assert not photo.untouched
    assert decode_photo(saved(picture(), "PNG"), LIMITS).image.size == (300, 200)
    monkeypatch.setattr(decode, "MOST_PIXELS", 10)
    with pytest.raises(SampleError, match="even at an eighth"):
        decode_photo(JPEG, LIMITS)


def test_a_setting_allows_more_pixels_than_pillow_does(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_photo(JPEG, LIMITS).image.size == (300, 200)
    with pytest.raises(SampleError) as caught:
        decode_photo(JPEG, replace(LIMITS, max_pixels=50_000))
    assert caught.value.reason == "bomb"
