"""Lossless crops of JPEG files: the same pixels as the file's, metadata written anew, and boxes on blocks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UsageError
from procrop_model.crop import Crop
from procrop_model.inference.image_input import Original
from procrop_model.inference.lossless_crop import box_on_blocks, require_lossless, stored_box
from tests.procrop_model.inference.test_source_metadata import PACKET, PROFILE, tags

SIZE = (90, 60)


@pytest.fixture(scope="module", autouse=True)
def library():
    try:
        require_lossless()
    except UsageError:
        pytest.skip("libjpeg-turbo's library is not on this machine")


def jpeg(path: Path, orientation: int = 1, mode: str = "RGB", subsampling: int = 2) -> Path:
    """A photograph of soft noise with all metadata."""
    noise = np.random.default_rng(2).integers(0, 255, (8, 12, 3), np.uint8)
    image = Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC).convert(mode)
    options = {} if mode == "L" else {"subsampling": subsampling}
    image.save(
        path, quality=83, exif=tags(orientation).tobytes(), xmp=PACKET, icc_profile=PROFILE, dpi=(300, 300), **options
    )
    return path


def crop_of(path: Path, box: tuple[int, int, int, int], to: Path) -> Crop:
    crop = Crop(box, 0.0, [], 1.0, None, Original(path)).on_blocks()
    crop.save(to, lossless=True)
    return crop


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_those_of_the_file(tmp_path: Path, orientation: int) -> None:
    source = jpeg(tmp_path / "a.jpg", orientation)
    upright = np.asarray(Original(source).full())
    crop = crop_of(source, (21, 18, 50, 44), tmp_path / "b.jpg")
    x1, y1, x2, y2 = crop.box_px
    written = np.asarray(Original(tmp_path / "b.jpg").full())
    assert written.shape[:2] == (y2 - y1, x2 - x1) and 29 <= x2 - x1 < 45 and 26 <= y2 - y1 < 42
    # Colour is upsampled over the border of the crop, so a pixel beside it may differ.
    assert np.array_equal(written[2:-2, 2:-2], upright[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2])


def test_gray_and_full_colour_are_identical_to_the_edge(tmp_path: Path) -> None:
    for name, options in (("gray", {"mode": "L"}), ("full", {"subsampling": 0})):
        source = jpeg(tmp_path / f"{name}.jpg", **options)
        crop = crop_of(source, (16, 16, 61, 43), tmp_path / "b.jpg")
        assert crop.box_px == (16, 16, 61, 43)
        whole = np.asarray(Original(source).full())
        assert np.array_equal(np.asarray(Original(tmp_path / "b.jpg").full()), whole[16:43, 16:61])


def test_metadata_are_those_of_any_crop(tmp_path: Path) -> None:
    crop_of(jpeg(tmp_path / "a.jpg", 6), (10, 20, 50, 60), tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as opened:
        exif = opened.getexif()
        assert exif[0x8298] == "(c) somebody" and exif[0x0112] == 6 and 0x8825 not in exif
        assert opened.info["icc_profile"] == PROFILE and opened.info["dpi"] == (300, 300)
        assert b'tiff:Orientation="6"' in opened.info["xmp"] and b"GPS" not in opened.info["xmp"]
        assert exif.get_ifd(0x8769)[0xA002] == opened.size[0]


def test_boxes_begin_at_blocks_of_the_stored_image() -> None:
    assert box_on_blocks((21, 18, 50, 44), SIZE, 1, (16, 8)) == (16, 16, 50, 44)
    assert box_on_blocks((21, 18, 50, 44), SIZE, 3, (16, 16)) == (
        21,
        18,
        58,
        44,
    )  # turned by 180 degrees: the other corner
    upright = box_on_blocks((10, 20, 50, 70), (60, 90), 6, (16, 16))
    x1, y1, _, _ = stored_box(upright, (60, 90), 6)
    assert x1 % 16 == y1 % 16 == 0


def test_other_crops_are_encoded(tmp_path: Path) -> None:
    Image.new("RGB", SIZE, "red").save(tmp_path / "a.png")
    crop = Crop((1, 1, 50, 40), 0.0, [], 1.0, None, Original(tmp_path / "a.png"))
    assert crop.on_blocks() is crop and not crop.can_be_lossless
    crop.save(tmp_path / "b.png", lossless=True)
    assert Original(tmp_path / "b.png").size == (49, 39)
    resized = Crop((1, 1, 50, 40), 0.0, [], 1.0, (20, 16), Original(jpeg(tmp_path / "c.jpg")))
    assert not resized.can_be_lossless
