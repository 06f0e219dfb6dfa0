"""What a file says about its photograph beside the pixels, in the form in which Pillow writes it with a crop."""

import math
import re
import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image, PngImagePlugin

# EXIF tags that describe how a file stores its pixels; resolution has an option of its own.
_STORAGE = (
    *range(254, 260), 262, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 296, 301, 317, 318, 319, 320, *range(322, 326),
    330, 332, 338, 339, 340, 341, 342, 347, *range(512, 522), *range(529, 533), 700, 33723, 34377, 34675,
)  # fmt: skip
ORIENTATION, XMP, IPTC, EXIF_IFD, GPS_IFD, WIDTH, HEIGHT, MAKER_NOTE = (
    274,
    700,
    33723,
    34665,
    34853,
    40962,
    40963,
    37500,
)
IPTC_BLOCK = 0x0404  # of Photoshop's resources in a JPEG
SEGMENT = 65_000  # bytes: a JPEG's segments hold little more
_TURN = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))\d")
_CROP = re.compile(rb"\s(?:crs:HasCrop|crs:Crop\w+)\s*=\s*(?:\"[^\"]*\"|'[^']*')|<(crs:HasCrop|crs:Crop\w+)>[^<]*</\1>")
_PLACE = re.compile(rb"\sexif:GPS\w+\s*=\s*(?:\"[^\"]*\"|'[^']*')|<(exif:GPS\w+)\b[^>]*>.*?</\1>", re.S)


@dataclass(frozen=True)
class SourceMetadata:
    """Metadata of one image.

    Args:
        exif: tags, without those about storage and without the thumbnail; empty for none.
        xmp: the packet, which says that the picture is upright and not cropped; empty for none.
        iptc: the records; empty for none.
        dpi: resolution (across, down), or None.
    """

    exif: Image.Exif
    xmp: bytes = b""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None

    def options(
        self, kind: str, size: tuple[int, int], *, keep_gps: bool = False, orientation: int = 1
    ) -> dict[str, Any]:
        """Options of ``Image.save`` for a crop.

        Args:
            kind: JPEG, PNG, WEBP or TIFF, as Pillow names them; other kinds get no metadata.
            size: (width, height) of the crop in pixels.
            keep_gps: whether the place is written.
            orientation: EXIF value of the pixels that are written.
        """
        if kind not in ("JPEG", "PNG", "WEBP", "TIFF"):
            return {}
        exif, xmp = self._exif(size, keep_gps=keep_gps), self.xmp if keep_gps else _PLACE.sub(b"", self.xmp)
        if orientation != 1:
            exif[ORIENTATION], xmp = orientation, _TURN.sub(rb"\g<1>%d" % orientation, xmp)
        options: dict[str, Any] = {} if self.dpi is None or kind == "WEBP" else {"dpi": self.dpi}
        if kind == "TIFF":
            exif.update({tag: value for tag, value in ((XMP, xmp), (IPTC, self.iptc)) if value})
        elif kind == "PNG" and xmp:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        elif xmp and (kind == "WEBP" or len(xmp) < SEGMENT):
            options["xmp"] = xmp
        if kind == "JPEG" and 0 < len(self.iptc) < SEGMENT:
            options["extra"] = _photoshop_segment(self.iptc)
        if len(exif):
            options["exif"] = _exif_bytes(exif, kind)
        return options

    def _exif(self, size: tuple[int, int], *, keep_gps: bool) -> Image.Exif:
        exif = _copied(self.exif, without=() if keep_gps else (GPS_IFD,))
        if ORIENTATION in self.exif:
            exif[ORIENTATION] = 1
        camera = exif.get(EXIF_IFD)
        if isinstance(camera, dict):
            camera.update({tag: side for tag, side in zip((WIDTH, HEIGHT), size, strict=True) if tag in camera})
        return exif


def read_metadata(opened: Image.Image) -> SourceMetadata:
    """The metadata of an image that is opened; parts that cannot be read are left out."""
    xmp = opened.info.get("xmp", b"")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""
    return SourceMetadata(
        _read_exif(opened), _CROP.sub(b"", _TURN.sub(rb"\g<1>1", xmp)), _read_iptc(opened), _dpi(opened)
    )


def _read_exif(opened: Image.Image) -> Image.Exif:
    try:
        exif = opened.getexif()
        found = _copied(exif, without=_STORAGE)
        if ORIENTATION in exif:
            found[ORIENTATION] = 1
        for tag in (EXIF_IFD, GPS_IFD):
            if tag in exif and (values := dict(exif.get_ifd(tag))):
                found[tag] = values
        _exif_bytes(found, "PNG")  # whatever cannot be written is found here
    except Exception:  # noqa: BLE001 - EXIF of strangers raises any class, and the pixels may be fine
        return Image.Exif()
    return found


def _copied(exif: Image.Exif, without: tuple[int, ...]) -> Image.Exif:
    copied = Image.Exif()
    for tag, value in exif.items():
        if tag not in without:
            copied[tag] = dict(value) if isinstance(value, dict) else value
    return copied


def _exif_bytes(exif: Image.Exif, kind: str) -> bytes:
    data = exif.tobytes()
    if kind == "JPEG" and len(data) > SEGMENT:
        smaller = _copied(exif, without=())
        if isinstance(camera := smaller.get(EXIF_IFD), dict):
            camera.pop(MAKER_NOTE, None)
        data = smaller.tobytes()
    return data if kind != "JPEG" or len(data) <= SEGMENT else b""


def _read_iptc(opened: Image.Image) -> bytes:
    blocks = opened.info.get("photoshop")
    found = blocks.get(IPTC_BLOCK, b"") if isinstance(blocks, dict) else getattr(opened, "tag_v2", {}).get(IPTC, b"")
    return found if isinstance(found, bytes) else b""


def _photoshop_segment(iptc: bytes) -> bytes:
    """An APP13 segment of a JPEG with the records."""
    block = b"8BIM" + struct.pack(">HHI", IPTC_BLOCK, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    content = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def _dpi(opened: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in opened.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(math.isfinite(v) and 1 < v < 65536 for v in (across, down)) else None
