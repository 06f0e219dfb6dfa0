"""What a crop keeps of its file: metadata, profile, format, depth and encoding; the place only when asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, IptcImagePlugin, PngImagePlugin

from procrop_model.crop import Crop
from procrop_model.inference.image_input import Original
from procrop_model.inference.source_metadata import SourceMetadata, read_metadata

SIZE, BOX = (90, 60), (10, 5, 50, 55)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" crs:HasCrop="True" crs:CropTop="0.2" '
    b'exif:GPSLatitude="51,30N" dc:rights="(c) somebody"><exif:GPSLongitude>0,7W</exif:GPSLongitude></rdf:Description></x:xmpmeta>'
)


def pixels(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(1).integers(0, 255, (SIZE[1], SIZE[0], 4), np.uint8)
    if mode == "I;16":
        return Image.fromarray((values[..., 0].astype(np.uint16) << 8) | 77)
    return Image.fromarray(values).convert(mode)


def tags(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x8298], exif[0x0110], exif[0x0112] = "(c) somebody", "a camera", orientation
    exif[0x8769] = {0x829A: 0.005, 0xA002: SIZE[0], 0xA003: SIZE[1], 0x9003: "2020:01:02 03:04:05"}
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0)}
    return exif


def photograph(path: Path, mode: str = "RGB", orientation: int = 1) -> Path:
    """A file with all metadata that its format holds."""
    exif = tags(orientation)
    options: dict[str, object] = {"dpi": (300, 300)}
    if path.suffix == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", PACKET.decode())
    elif path.suffix == ".tif":
        exif[700] = PACKET
    else:
        options["xmp"] = PACKET
    pixels(mode).save(path, icc_profile=PROFILE, exif=exif.tobytes(), **options)
    return path


def crop_of(path: Path, to: Path, **options: object) -> Image.Image:
    Crop(BOX, 0.0, [], 1.0, None, Original(path)).save(to, **options)
    with Image.open(to) as opened:
        opened.load()
        return opened


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_metadata_stay_and_the_place_goes(tmp_path: Path, suffix: str) -> None:
    source = photograph(tmp_path / f"a{suffix}", orientation=6)
    crop = crop_of(source, tmp_path / f"b{suffix}")
    exif = crop.getexif()
    assert (exif[0x8298], exif[0x0110], exif.get(0x0112, 1)) == ("(c) somebody", "a camera", 1)
    camera = exif.get_ifd(0x8769)
    assert float(camera[0x829A]) == pytest.approx(0.005) and (camera[0xA002], camera[0xA003]) == crop.size == (40, 50)
    assert not exif.get_ifd(0x8825) and crop.info["icc_profile"] == PROFILE
    if suffix != ".webp":
        assert [round(v) for v in crop.info["dpi"]] == [300, 300]
    packet = read_metadata(crop).xmp
    assert b"(c) somebody" in packet and b'Orientation="1"' in packet
    assert not any(word in packet for word in (b"GPS", b"HasCrop", b"CropTop"))
    placed = crop_of(source, tmp_path / f"c{suffix}", keep_gps=True)
    assert placed.getexif().get_ifd(0x8825)[1] == "N" and b"GPSLatitude" in read_metadata(placed).xmp


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (".png", "I;16"),
        (".tif", "I;16"),
        (".png", "RGBA"),
        (".png", "L"),
        (".tif", "LA"),
        (".jpg", "L"),
        (".tif", "RGB"),
    ],
)
def test_pixels_keep_their_mode(tmp_path: Path, suffix: str, mode: str) -> None:
    source = tmp_path / f"a{suffix}"
    pixels(mode).save(source)
    crop = crop_of(source, tmp_path / f"b{suffix}")
    with Image.open(source) as opened:
        want = np.asarray(opened.crop(BOX))
    assert crop.mode == mode
    np.testing.assert_allclose(np.asarray(crop).astype(int), want.astype(int), atol=60 if suffix == ".jpg" else 0)


def test_iptc_of_a_jpeg_stays(tmp_path: Path) -> None:
    records = b"\x1c\x02\x74\x00\x0c(c) somebody"
    block = SourceMetadata(Image.Exif(), iptc=records).options("JPEG", SIZE)["extra"]
    pixels().save(tmp_path / "a.jpg", extra=block)
    found = IptcImagePlugin.getiptcinfo(crop_of(tmp_path / "a.jpg", tmp_path / "b.jpg"))
    assert found == {(2, 116): b"(c) somebody"}


def test_broken_metadata_do_not_stop_a_crop(tmp_path: Path) -> None:
    pixels().save(
        tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200)), xmp=b"\xff<no packet"
    )
    assert crop_of(tmp_path / "a.jpg", tmp_path / "b.jpg").size == (40, 50)
    assert crop_of(tmp_path / "a.jpg", tmp_path / "b.png").size == (40, 50)
