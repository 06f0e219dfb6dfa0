"""Odd metadata hides no pixels, profiles mean what their numbers say, and whatever a decoder raises is one class."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.core import pictures
from pipeline.core.errors import SampleError, UsageError
from pipeline.core.pictures import (
    PictureError,
    allow_by_environment,
    decoder_errors,
    is_srgb,
    orientation_of,
    upright_size,
    why_unsupported,
)
from procrop_model.inference.image_input import Original
from stages.photos.decode import PhotoLimits, decode_photo

LIMITS = PhotoLimits(min_side=8, max_side=4096, max_pixels=1 << 24, max_aspect=9.0)


def picture(width=60, height=40, mode="RGB"):
    values = np.zeros((height, width, 3), np.uint8)
    values[: height // 2, : width // 2] = (200, 40, 40)
    values[height // 2 :, width // 2 :] = (90, 160, 220)
    return Image.fromarray(values).convert(mode)


def saved(image, kind="JPEG", **options):
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def exif_block(entries, order="<"):
    """An EXIF block of entries (tag, type, count, four bytes of value or offset), whatever they are."""
    body = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack(f"{order}HHI", tag, kind, count) + value
    return b"Exif\0\0" + (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8) + body + b"\0\0\0\0"


TURN = (0x0112, 3, 1, b"\6\0\0\0")
ODD = [
    exif_block([TURN, (0x011A, 2, 4, b"72\0\0")]),  # XResolution as text
    exif_block([TURN, (0x011A, 5, 1, b"\xff\xff\xff\x7f")]),  # an offset beyond the block
    exif_block([TURN, (0x8769, 4, 1, b"\x08\0\0\0")]),  # an IFD within itself
    exif_block([TURN, (0x8769, 2, 4, b"abc\0")]),  # an IFD that is text
    exif_block([TURN, (0x9999, 99, 1, b"\0\0\0\0")]),
    exif_block([(0x0112, 2, 2, b"6\0\0\0")]),
    exif_block([(0x0112, 7, 4, b"\6\0\0\0")]),
    exif_block([(0x0112, 3, 9, b"\6\0\0\0")]),
    exif_block([(0x0112, 3, 1, b"\x63\0\0\0")]),
    b"Exif\0\0II*\0", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\xff\xff",
]  # fmt: skip


@pytest.mark.parametrize("block", ODD)
def test_odd_exif_hides_no_pixels(block, tmp_path):
    data = saved(picture(), exif=block, quality=95)
    (tmp_path / "a.jpg").write_bytes(data)
    image = decode_photo(data, LIMITS).image
    original = Original(tmp_path / "a.jpg")
    assert sorted(image.size) == [40, 60]
    assert original.size == original.full().size == image.size and original.small(30).shape[2] == 3
    original.release()
    original.full().save(tmp_path / "again.jpg", quality=95)  # the odd block is not written again


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_pixels_are_upright_in_each_format(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(saved(picture(), kind, exif=exif))
    original = Original(file)
    upright = (60, 40) if orientation < 5 else (40, 60)
    assert original.size == upright == original.full().size == decode_photo(file.read_bytes(), LIMITS).image.size
    assert original.orientation == orientation
    with Image.open(file) as opened:
        assert upright_size(opened) == upright


def profile_of(space="sRGB", **changes):
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space, **changes))
    return made.tobytes()


def wide_profile(name):
    """The sRGB profile with its red and green primaries exchanged; its description stays."""
    data = bytearray(profile_of())
    count = struct.unpack(">I", data[128:132])[0]
    entries = {bytes(data[132 + 12 * n : 136 + 12 * n]): 136 + 12 * n for n in range(count)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    assert name.encode("utf-16-be") in bytes(data) or name.encode() in bytes(data)
    return bytes(data)


def test_a_profile_is_srgb_by_its_numbers_not_its_name():
    assert is_srgb(profile_of()) and is_srgb(None) and is_srgb(b"no profile")
    other = wide_profile("sRGB")
    assert not is_srgb(other)
    decoded = decode_photo(saved(picture(), icc_profile=other, quality=95), LIMITS)
    assert not decoded.untouched and decoded.image.getpixel((5, 5)) != picture().getpixel((5, 5))


def test_crops_of_other_modes_follow_their_profile(tmp_path):
    """A gray or CMYK picture is converted by its profile; the profile of RGB pixels stays with them."""
    lab = picture().convert("L")
    file = tmp_path / "gray.tif"
    lab.save(file, icc_profile=gray_profile(gamma=1.0))
    with_profile, ingested = Original(file).full(), decode_photo(file.read_bytes(), LIMITS).image
    assert np.abs(np.asarray(with_profile, int) - np.asarray(ingested, int)).max() <= 1
    assert np.asarray(with_profile, int).mean() > np.asarray(lab, int).mean() + 10  # linear values are brighter in sRGB
    assert "icc_profile" not in with_profile.info
    wide = wide_profile("sRGB")
    picture().save(tmp_path / "rgb.png", icc_profile=wide)
    assert Original(tmp_path / "rgb.png").full().info["icc_profile"] == wide


def gray_profile(gamma):
    """A minimal ICC profile of one channel with a plain gamma curve."""
    white = struct.pack(">4sIiii", b"XYZ ", 0, 63190, 65536, 54061)
    curve = struct.pack(">4sIIH", b"curv", 0, 1, round(gamma * 256)) + b"\0\0"
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"gray\0" + bytes(78)
    text += bytes(-len(text) % 4)
    parts, offset, table = b"", 128 + 4 + 3 * 12, b""
    for tag, part in ((b"desc", text), (b"wtpt", white), (b"kTRC", curve)):
        table += struct.pack(">4sII", tag, offset + len(parts), len(part))
        parts += part
    head = struct.pack(">I4sI4s4s4s12s4s", 0, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    data = head.ljust(128, b"\0") + struct.pack(">I", 3) + table + parts
    return struct.pack(">I", len(data)) + data[4:]


def test_floating_point_is_an_error_not_black(tmp_path):
    Image.new("F", (60, 40), 0.5).save(tmp_path / "f.tif")
    with pytest.raises(PictureError, match="floating point"):
        Original(tmp_path / "f.tif").full()
    with pytest.raises(SampleError) as said:
        decode_photo((tmp_path / "f.tif").read_bytes(), LIMITS)
    assert said.value.reason == "bad_mode"
    deep = Image.fromarray(np.full((40, 60), 40_000, np.uint16))
    deep.save(tmp_path / "d.png")
    assert Original(tmp_path / "d.png").full().getpixel((0, 0)) == (156, 156, 156)


@pytest.mark.parametrize(
    "error", [TypeError("x"), AttributeError(), struct.error("y"), RuntimeError("<a at 0x1>"), KeyError("k")]
)
def test_whatever_a_decoder_raises_is_a_picture_error(error):
    with pytest.raises(PictureError, match="the decoder fails") as said, decoder_errors():
        raise error
    assert said.value.reason == "unreadable"


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError(), UsageError("u"), OSError(28, "full"), SampleError("bomb")]
)
def test_errors_that_are_no_pictures_fault_pass(error):
    with pytest.raises(type(error)) as said, decoder_errors():
        raise error
    assert said.value is error


def test_an_orientation_that_is_none_is_upright():
    assert orientation_of(Image.new("RGB", (2, 2))) == 1


@pytest.mark.parametrize("name", ["a.heic", "a.HIF", "a.jxl"])
def test_pictures_that_need_a_plug_in_are_read_with_it(name, tmp_path):
    assert why_unsupported(name) == ""
    file = tmp_path / name
    picture().save(file, "JXL" if name.endswith("jxl") else "HEIF", quality=90)
    assert decode_photo(file.read_bytes(), LIMITS).image.size == Original(file).size == (60, 40)


def test_what_is_not_read_says_why(monkeypatch):
    assert "develop or export" in why_unsupported("IMG.NEF") and why_unsupported("a.jpg") == why_unsupported("a") == ""
    monkeypatch.setattr(pictures, "PLUGINS", {".heic": "no_such_plug_in"})
    assert "pip install 'procrop-data[formats]'" in why_unsupported("a.heic")


def test_the_environment_allows_more_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    sink = io.BytesIO()
    Image.new("RGB", (100, 50)).save(sink, "PNG")
    with (
        pytest.raises(PictureError, match="more than 2,000 pixels; set PROCROP_MAX_PIXELS=N") as caught,
        decoder_errors(),
    ):
        Image.open(io.BytesIO(sink.getvalue()))
    assert caught.value.reason == "bomb"
    for words in ("", "many", "-1", "5"):
        allow_by_environment({"PROCROP_MAX_PIXELS": words})
        assert Image.MAX_IMAGE_PIXELS == 1000
    allow_by_environment({"PROCROP_MAX_PIXELS": "5000"})
    assert Image.open(io.BytesIO(sink.getvalue())).size == (100, 50)
