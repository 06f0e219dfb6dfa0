"""Crops of JPEG files without loss: the coded blocks are copied, through libjpeg-turbo, and only the metadata are written anew."""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from pipeline.core.errors import UsageError
from pipeline.core.geometry import BoxPx, to_norm, to_px
from pipeline.core.lazy_import import LazyImport
from pipeline.core.pictures import QUARTER_TURNS, to_stored, to_upright

BLOCK = 8  # pixels of a coded block a side
NEEDED = "pip install 'procrop-data[lossless]', and libjpeg-turbo's library (Debian: apt-get install libturbojpeg0)"
_TURBO: "LazyImport[Callable[[], JpegBlocks]]" = LazyImport("turbojpeg:TurboJPEG")
START, SCAN, ADOBE = 0xD8, 0xDA, 0xEE
METADATA = (*range(0xE0, 0xF0), 0xFE)  # application segments and comments


class JpegBlocks(Protocol):
    """What is used of PyTurboJPEG."""

    @property
    def crop(self) -> Callable[..., bytes]:
        """The blocks of a JPEG from (x, y) on, w wide and h high. Raises OSError, ValueError."""
        ...


def block_of(opened: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels of the smallest part of a JPEG that can be copied; (0, 0) of any other image."""
    if not isinstance(opened, JpegImageFile) or opened.mode not in ("RGB", "L"):
        return (0, 0)
    if len(opened.layer) == 1:
        return (BLOCK, BLOCK)
    return (BLOCK * max(part[1] for part in opened.layer), BLOCK * max(part[2] for part in opened.layer))


def box_on_blocks(box_px: BoxPx, size: tuple[int, int], orientation: int, block: tuple[int, int]) -> BoxPx:
    """The box, in pixels of the upright image, enlarged to where blocks of the stored image begin.

    Args:
        box_px: (x1, y1, x2, y2) of the crop.
        size: (width, height) of the upright image.
        orientation: EXIF value of the file, 1 to 8.
        block: of the file.
    """
    x1, y1, x2, y2 = stored_box(box_px, size, orientation)
    aligned = (x1 - x1 % block[0], y1 - y1 % block[1], x2, y2)
    return to_px(to_upright(to_norm(aligned, *_stored_size(size, orientation)), orientation), *size)


def stored_box(box_px: BoxPx, size: tuple[int, int], orientation: int) -> BoxPx:
    """A box of the upright image, of ``size``, in pixels of the stored one."""
    return to_px(to_stored(to_norm(box_px, *size), orientation), *_stored_size(size, orientation))


def _stored_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in QUARTER_TURNS else size


def require_lossless() -> "JpegBlocks":
    """libjpeg-turbo; raises UsageError where it is missing."""
    try:
        return _TURBO.load()()
    except (ImportError, RuntimeError, OSError) as error:
        raise UsageError(f"--lossless needs libjpeg-turbo: {NEEDED}") from error


def crop_lossless(file: Path, box: BoxPx, options: Mapping[str, object]) -> bytes:
    """A JPEG whose blocks are those of ``file`` within ``box``, in pixels of the stored image, with x1 and y1 on blocks.

    options: of Pillow, for the metadata: ``exif``, ``xmp``, ``icc_profile``, ``dpi``, ``extra``. Raises UsageError without the
    library, OSError for a file that it cannot read.
    """
    turbo = require_lossless()
    try:
        blocks = turbo.crop(
            file.read_bytes(), box[0], box[1], box[2] - box[0], box[3] - box[1], preserve=True, copynone=True
        )
    except ValueError as error:
        raise OSError(f"libjpeg-turbo cannot crop '{file.name}' without loss") from error
    template = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(template, "JPEG", **options)
    added = b"".join(part for marker, part in _segments(template.getvalue()) if marker in METADATA)
    own = b"".join(part for marker, part in _segments(blocks) if marker not in METADATA or marker == ADOBE)
    return b"\xff\xd8" + added + own


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, whole segment) of each segment; the last one is all from the first scan on."""
    at = 2
    while at < len(jpeg):
        marker = jpeg[at + 1]
        if marker == SCAN:
            yield marker, jpeg[at:]
            return
        (length,) = struct.unpack(">H", jpeg[at + 2 : at + 4])
        yield marker, jpeg[at : at + 2 + length]
        at += 2 + length
