"""Colour pictures of 16 bits a channel, which Pillow reads as 8: PNG and TIFF files, through imagecodecs and tifffile."""

import io
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import UsageError
from pipeline.core.geometry import BoxPx
from pipeline.core.lazy_import import LazyImport

Tag = tuple[int, int, int, str | bytes, bool]  # number, type, count, value, whether it is written once
Deep = NDArray[np.uint16]  # [H, W, 3 or 4]
KINDS = ("PNG", "TIFF")
NEEDED = "pip install 'procrop-data[deep]'"
_log = logging.getLogger("procrop-data")
_PNG_DECODE: LazyImport[Callable[[bytes], Deep]] = LazyImport("imagecodecs:png_decode")
_PNG_ENCODE: LazyImport[Callable[[Deep], bytes]] = LazyImport("imagecodecs:png_encode")
_TIFF_READ: LazyImport[Callable[[Path], Deep]] = LazyImport("tifffile:imread")
_TIFF_WRITE: LazyImport[Callable[..., None]] = LazyImport("tifffile:imwrite")
# Pillow's names of compressions, as tifffile has them.
COMPRESSIONS = {
    "raw": None, "tiff_lzw": "lzw", "tiff_adobe_deflate": "zlib", "tiff_deflate": "zlib", "packbits": "packbits",
    "zstd": "zstd", "lzma": "lzma",
}  # fmt: skip
XMP, IPTC = 700, 33723
BYTE, ASCII, UNDEFINED = 1, 2, 7  # types of TIFF tags
PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS")
# What an EXIF orientation does to the stored array, so that it is upright.
_TURNS = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip


def is_deep(opened: Image.Image) -> bool:
    """Whether an opened image has colours of 16 bits a channel."""
    if opened.mode not in ("RGB", "RGBA", "RGBX"):
        return False
    if opened.format == "TIFF":
        bits = getattr(opened, "tag_v2", {}).get(258, ())
        return len(bits) in (3, 4) and set(bits) == {16}
    return opened.format == "PNG" and any("16" in str(part[3]) for part in getattr(opened, "tile", ()))


def can_read_deep() -> bool:
    """Whether the packages are installed."""
    return all(find_spec(name) is not None for name in ("imagecodecs", "tifffile"))


def read_deep(file: Path, kind: str, orientation: int) -> Deep | None:
    """The upright pixels of a file of 16 bits a channel; None, with a warning, where the packages are missing."""
    if not can_read_deep():
        _log.warning("%s: 16 bits a channel are written as 8; to keep them: %s", file.name, NEEDED)
        return None
    read = _PNG_DECODE.load()(file.read_bytes()) if kind == "PNG" else _TIFF_READ.load()(file)
    array = np.asarray(read)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint16:
        return None
    return np.ascontiguousarray(_TURNS.get(orientation, _TURNS[1])(array))


def cut(array: Deep, box_px: BoxPx, size: tuple[int, int] | None) -> Deep:
    """The crop of an array. size: (width, height) that it is resampled to, or None."""
    if size is None:
        return np.ascontiguousarray(array[box_px[1] : box_px[3], box_px[0] : box_px[2]])
    channels = [
        Image.fromarray(array[..., channel].astype(np.float32)).resize(size, Image.Resampling.LANCZOS, box=box_px)
        for channel in range(array.shape[2])
    ]
    stacked = np.stack([np.asarray(channel) for channel in channels], axis=2)
    return np.clip(np.round(stacked), 0, 65535).astype(np.uint16)


def encode_deep(array: Deep, kind: str, options: Mapping[str, object]) -> bytes:
    """A PNG or TIFF file. options: those of Pillow: ``exif``, ``pnginfo``, ``dpi``, ``icc_profile``, ``compression``."""
    if kind == "PNG":
        return _with_chunks(_PNG_ENCODE.load()(array), options)
    if kind != "TIFF":
        raise UsageError(f"16 bits a channel cannot be written as {kind}")
    file = io.BytesIO()
    resolution = {"resolution": options["dpi"], "resolutionunit": "INCH"} if options.get("dpi") else {}
    extra = {"extrasamples": ["UNASSALPHA"]} if array.shape[2] == 4 else {}
    _TIFF_WRITE.load()(
        file, array, photometric="rgb", compression=COMPRESSIONS.get(str(options.get("compression")), "zlib"),
        iccprofile=options.get("icc_profile"), extratags=_tags(options.get("exif")), software=False, metadata=None,
        **resolution, **extra,
    )  # fmt: skip
    return file.getvalue()


def _tags(exif: object) -> list[Tag]:
    """Text tags (copyright, camera, date), XMP and IPTC of EXIF bytes, as tifffile takes them; nested tables are left out."""
    found = Image.Exif()
    if isinstance(exif, bytes):
        found.load(exif)
    tags: list[Tag] = []
    for tag, value in found.items():
        if isinstance(value, str):
            tags.append((tag, ASCII, len(value) + 1, value, True))
        elif isinstance(value, bytes) and tag in (XMP, IPTC):
            tags.append((tag, BYTE if tag == XMP else UNDEFINED, len(value), value, True))
    return tags


def _with_chunks(png: bytes, options: Mapping[str, object]) -> bytes:
    """A PNG with the chunks for metadata that Pillow writes for these options, behind its header."""
    template = io.BytesIO()
    Image.new("RGB", (1, 1)).save(template, "PNG", **{k: v for k, v in options.items() if k != "compression" and v})
    added = b"".join(chunk for kind, chunk in _chunks(template.getvalue()) if kind not in PIXEL_CHUNKS)
    own = list(_chunks(png))
    rest = b"".join(chunk for kind, chunk in own[1:] if kind in PIXEL_CHUNKS)
    return png[:8] + own[0][1] + added + rest


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole chunk) of each chunk."""
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at : at + 12 + length]
        at += 12 + length
