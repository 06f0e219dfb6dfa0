"""How a file encodes its pixels, in the form of options of Pillow with which a crop is encoded alike."""

from typing import Any

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.WebPImagePlugin import WebPImageFile

FULL_COLOUR = 0  # 4:4:4
JPEG_QUALITY, WEBP_QUALITY = 95, 90  # where the source has no quality of its own
LOSSLESS_TIFF = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma")
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
LOSSLESS_AS_PNG = ("GIF", "BMP")
# Modes that a crop keeps, by the kind of file; others become RGB.
MODES = {"JPEG": ("L",), "PNG": ("L", "LA", "RGBA", "I;16"), "WEBP": ("RGBA",), "TIFF": ("L", "LA", "RGBA", "I;16")}


def saved_kind(opened: Image.Image) -> str:
    """JPEG, PNG, WEBP or TIFF: what a crop of an opened image is saved as; PNG for GIF and BMP, JPEG for all others."""
    if opened.format in SUFFIXES:
        return str(opened.format)
    return "PNG" if opened.format in LOSSLESS_AS_PNG else "JPEG"


def usual_encoding() -> dict[str, dict[str, Any]]:
    """Options of ``Image.save`` by kind of file, for a crop of pixels that no file encoded."""
    return {
        "JPEG": {"quality": JPEG_QUALITY, "subsampling": FULL_COLOUR},
        "WEBP": {"quality": WEBP_QUALITY},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }


def read_encoding(opened: Image.Image) -> dict[str, dict[str, Any]]:
    """Options of ``Image.save`` by kind of file, for a crop of an image that is opened and not yet loaded."""
    options = usual_encoding()
    if isinstance(opened, JpegImageFile):
        options["JPEG"]["subsampling"] = max(
            FULL_COLOUR, int(get_sampling(opened))
        )  # -1: a way that Pillow does not write
        options["JPEG"]["progressive"] = bool(opened.info.get("progressive"))
        if opened.mode in ("L", "RGB") and opened.quantization:
            del options["JPEG"]["quality"]  # it would scale the tables
            options["JPEG"]["qtables"] = dict(opened.quantization)
    elif opened.format == "TIFF" and opened.info.get("compression") in LOSSLESS_TIFF:
        options["TIFF"]["compression"] = opened.info["compression"]
    elif isinstance(opened, WebPImageFile) and _is_lossless_webp(opened):
        options["WEBP"] = {"lossless": True, "exact": True}
    return options


def with_quality(options: dict[str, Any], quality: int) -> dict[str, Any]:
    """Options with another quality, 1 to 100, in place of the source's."""
    kept = {name: value for name, value in options.items() if name not in ("qtables", "lossless", "exact")}
    return {**kept, "quality": quality}


def _is_lossless_webp(opened: WebPImageFile) -> bool:
    """Whether the first image of the file is in a VP8L chunk, which stands within the first kilobytes or behind a profile."""
    if opened.fp is None:
        return False
    place = opened.fp.tell()
    opened.fp.seek(12)
    try:
        while len(header := opened.fp.read(8)) == 8:
            if header[:4] in (b"VP8L", b"VP8 ", b"ANMF"):
                return header[:4] == b"VP8L"
            size = int.from_bytes(header[4:], "little")
            opened.fp.seek(size + size % 2, 1)
        return False
    finally:
        opened.fp.seek(place)
