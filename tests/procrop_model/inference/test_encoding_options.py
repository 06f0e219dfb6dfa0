"""A crop is encoded as its file: JPEG tables, sampling and progression; WebP and TIFF without loss where the file is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from procrop_model.crop import Crop
from procrop_model.inference.encoding_options import saved_kind
from procrop_model.inference.image_input import Original

BOX = (10, 5, 50, 55)


def pixels() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 90, 3), np.uint8))


def crop_of(path: Path, to: Path, **options: object) -> Image.Image:
    Crop(BOX, 0.0, [], 1.0, None, Original(path)).save(to, **options)
    with Image.open(to) as opened:
        opened.load()
        return opened


def test_a_jpeg_is_encoded_as_its_original(tmp_path: Path) -> None:
    smooth = Image.linear_gradient("L").convert("RGB")
    smooth.save(tmp_path / "a.jpg", quality=61, subsampling=1, progressive=True)
    with Image.open(tmp_path / "a.jpg") as source:
        crop = crop_of(tmp_path / "a.jpg", tmp_path / "b.jpg")
        assert crop.quantization == source.quantization and get_sampling(crop) == get_sampling(source) == 1
        assert crop.info.get("progressive")
        better = crop_of(tmp_path / "a.jpg", tmp_path / "c.jpg", quality=97)
        assert better.quantization[0][0] < source.quantization[0][0] and get_sampling(better) == 1
    assert crop_of(tmp_path / "a.jpg", tmp_path / "d.png").format == "PNG"


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_without_loss_stays_without(tmp_path: Path, lossless: bool) -> None:
    pixels().save(tmp_path / "a.webp", lossless=lossless)
    crop = crop_of(tmp_path / "a.webp", tmp_path / "b.webp")
    with Image.open(tmp_path / "a.webp") as source:
        assert ("lossless" in Original(source).encoding["WEBP"]) == lossless
        same = np.array_equal(np.asarray(crop), np.asarray(source.crop(BOX)))
    assert same == lossless


@pytest.mark.parametrize(("compression", "wanted"), [("tiff_lzw", "tiff_lzw"), ("jpeg", "tiff_adobe_deflate")])
def test_a_tiff_keeps_its_compression_without_loss(tmp_path: Path, compression: str, wanted: str) -> None:
    pixels().save(tmp_path / "a.tif", compression=compression)
    assert crop_of(tmp_path / "a.tif", tmp_path / "b.tif").info["compression"] == wanted


@pytest.mark.parametrize(
    ("written", "kind"), [("JPEG", "JPEG"), ("BMP", "PNG"), ("JPEG2000", "JPEG"), ("TIFF", "TIFF")]
)
def test_other_formats_become_png_or_jpeg(tmp_path: Path, written: str, kind: str) -> None:
    pixels().save(tmp_path / "a", written)
    with Image.open(tmp_path / "a") as opened:
        assert saved_kind(opened) == kind
