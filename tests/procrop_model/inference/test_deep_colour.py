"""Colours of 16 bits a channel stay, with profile, resolution and copyright; where they cannot, a warning says so."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from procrop_model.crop import Crop
from procrop_model.inference.deep_colour import encode_deep, is_deep
from procrop_model.inference.image_input import Original
from tests.procrop_model.inference.test_source_metadata import PROFILE, tags

RNG = np.random.default_rng(3)


def write(path: Path, channels: int = 3, compression: str = "tiff_lzw") -> np.ndarray:
    """A picture of 90 x 60 with 16 bits a channel, and its array."""
    array = RNG.integers(0, 65535, (60, 90, channels)).astype(np.uint16)
    kind = "PNG" if path.suffix == ".png" else "TIFF"
    options = {"icc_profile": PROFILE, "dpi": (300, 300), "exif": tags().tobytes(), "compression": compression}
    path.write_bytes(encode_deep(array, kind, options))
    return array


def read(path: Path) -> np.ndarray:
    return imagecodecs.png_decode(path.read_bytes()) if path.suffix == ".png" else tifffile.imread(path)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_crop_has_the_pixels_and_the_metadata(tmp_path: Path, suffix: str, channels: int) -> None:
    array = write(tmp_path / f"a{suffix}", channels)
    original = Original(tmp_path / f"a{suffix}")
    assert original.is_deep and original.size == (90, 60)
    target = tmp_path / f"b{suffix}"
    Crop((10, 5, 50, 45), 0.0, [], 1.0, None, original).save(target)
    assert np.array_equal(read(target), array[5:45, 10:50])
    with Image.open(target) as opened:
        assert is_deep(opened) and opened.info["icc_profile"] == PROFILE
        assert opened.getexif()[0x8298] == "(c) somebody" and opened.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert opened.info.get("compression", "tiff_lzw") == "tiff_lzw"


def test_an_exact_size_is_resampled_in_16_bits(tmp_path: Path) -> None:
    array = np.full((60, 90, 3), 40_001, np.uint16)
    array[:, 45:] = 123
    (tmp_path / "a.png").write_bytes(encode_deep(array, "PNG", {}))
    Crop((0, 0, 40, 40), 0.0, [], 1.0, (20, 20), Original(tmp_path / "a.png")).save(tmp_path / "b.png")
    assert (read(tmp_path / "b.png") == 40_001).all()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pixels_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    array = RNG.integers(0, 65535, (60, 90, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(encode_deep(array, "PNG", {"exif": tags(orientation).tobytes()}))
    original = Original(tmp_path / "a.png")
    Crop((0, 0, *original.size), 0.0, [], 1.0, None, original).save(tmp_path / "b.png")
    seen, kept = np.asarray(original.full()).astype(int), read(tmp_path / "b.png").astype(int)
    assert np.abs(seen - kept / 257).max() < 1.01


def test_other_formats_get_8_bits_and_8_bits_are_not_deep(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    Crop((0, 0, 40, 40), 0.0, [], 1.0, None, Original(tmp_path / "a.png")).save(tmp_path / "b.jpg")
    assert not Original(tmp_path / "b.jpg").is_deep
    Image.new("RGB", (9, 9)).save(tmp_path / "c.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "c.tif")
    assert not Original(tmp_path / "c.png").is_deep and not Original(tmp_path / "c.tif").is_deep
