"""Images to crop: decoded at reduced size for the network, at full resolution only when a crop is written."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import UsageError
from pipeline.core.pictures import (
    PictureError,
    decoder_errors,
    eight_bits,
    orientation_of,
    to_srgb,
    upright,
    upright_size,
    with_end_mark,
)
from procrop_model.inference.deep_colour import KINDS as DEEP_KINDS
from procrop_model.inference.deep_colour import Deep, is_deep, read_deep
from procrop_model.inference.encoding_options import MODES, read_encoding, saved_kind, usual_encoding
from procrop_model.inference.lossless_crop import block_of
from procrop_model.inference.source_metadata import SourceMetadata, read_metadata

T = TypeVar("T")
Picture = Image.Image | Path | str | NDArray[np.uint8]
DETAIL = (
    2  # a decode for the network has at least this many times its input's pixels a side, so that resizing antialiases
)


class Original:
    """An image in its upright orientation.

    size: (width, height) of the upright full-resolution image. orientation: EXIF orientation of the file, 1 for upright.
    kind: JPEG, PNG, WEBP or TIFF, what its crops are saved as. metadata: EXIF, XMP, IPTC and resolution. encoding: options of
    Pillow by kind, with which crops are encoded as the file is. is_deep: whether its colours have 16 bits a channel. block:
    (width, height) of what can be copied of a JPEG file without loss, (0, 0) of others. icc_profile: of the file, or empty.
    """

    def __init__(self, picture: Picture) -> None:
        """Reads only the header of a file. Raises UsageError for an array that is not uint8 [H, W, 3], PictureError for a
        file that is not an image.
        """
        self._picture = picture
        self._full: Image.Image | None = None
        self._small: tuple[int, NDArray[np.uint8]] | None = None
        self._native: tuple[str, Image.Image] | None = None
        self.kind, self.metadata, self.encoding = "JPEG", SourceMetadata(Image.Exif()), usual_encoding()
        self.is_deep, self.block, self.icc_profile = False, (0, 0), b""
        if isinstance(picture, (str, Path)):
            with decoder_errors(), Image.open(picture) as opened:
                self._describe(opened)
                self.orientation, self.size = orientation_of(opened), upright_size(opened)
        else:
            if isinstance(picture, Image.Image):
                self._describe(picture)  # before its pixels are read, after which a WebP no longer has its file
            self._full = open_upright(picture)
            self.orientation = 1 if isinstance(picture, np.ndarray) else orientation_of(picture)
            self.size = self._full.size

    def _describe(self, opened: Image.Image) -> None:
        self.is_deep, self.block = is_deep(opened), block_of(opened)  # before metadata, for which a PNG is decoded
        self.kind, self.encoding, self.metadata = saved_kind(opened), read_encoding(opened), read_metadata(opened)
        self.icc_profile = opened.info.get("icc_profile") or b""

    @property
    def file(self) -> Path | None:
        """The file of the image; None for pixels in memory."""
        return Path(self._picture) if isinstance(self._picture, (str, Path)) else None

    def deep(self, kind: str) -> Deep | None:
        """The upright pixels uint16 [H, W, 3 or 4], where the file has 16 bits a channel and a ``kind`` of file can hold them."""
        if not self.is_deep or self.file is None or kind not in DEEP_KINDS:
            return None
        return read_deep(self.file, self.kind, self.orientation)

    def small(self, side: int) -> NDArray[np.uint8]:
        """uint8 RGB [h, w, 3], upright, with a long side of at least ``side`` pixels where the image has as many.

        A JPEG file is decoded at the smallest sufficient of 1/8, 1/4 and 1/2 of its size, which skips most of the inverse DCT. The
        result is cached until ``release``.
        """
        if self._small is None or self._small[0] != side:
            self._small = (side, self._reduced(side))
        return self._small[1]

    def _reduced(self, side: int) -> NDArray[np.uint8]:
        if self._full is None and self._is_file:
            return self._of_file(lambda opened: _reduced_file(opened, side))
        return _reduced_picture(self.full(), side)

    def full(self) -> Image.Image:
        """The full-resolution upright RGB image; cached until ``release``."""
        if self._full is None:
            self._full = self._of_file(_upright) if self._is_file else open_upright(self._picture)
        return self._full

    @property
    def _is_file(self) -> bool:
        return isinstance(self._picture, (str, Path))

    def _of_file(self, read: Callable[[Image.Image], T]) -> T:
        """What ``read`` makes of the opened file; a JPEG without its end mark is read, too. Raises PictureError."""
        path = Path(self._picture)  # type: ignore[arg-type]
        try:
            with decoder_errors(), Image.open(path) as opened:
                return read(opened)
        except PictureError as error:
            mended = with_end_mark(path.read_bytes()) if error.reason == "truncated" else None
            if mended is None:
                raise
        with decoder_errors(), Image.open(io.BytesIO(mended)) as opened:
            return read(opened)

    def native(self, kind: str) -> Image.Image:
        """The full-resolution upright image in the file's own mode where a file of this kind can hold it: gray, with transparency
        or of 16 bits; else as ``full``. Cached until ``release``.
        """
        if self._native is None or self._native[0] != kind:
            self._native = (kind, self._own_mode(MODES.get(kind, ())) or self.full())
        return self._native[1]

    def _own_mode(self, modes: tuple[str, ...]) -> Image.Image | None:
        """The upright image in its own mode, with its profile, if that is one of ``modes``; else None."""
        if isinstance(self._picture, Image.Image):
            return _in_mode(self._picture, modes)
        return self._of_file(lambda opened: _in_mode(opened, modes)) if self._is_file else None

    def release(self) -> None:
        """Frees the pixels of a file; they are read again when needed."""
        self._small = self._native = None
        if isinstance(self._picture, (str, Path)):
            self._full = None


def open_upright(image: Picture) -> Image.Image:
    """An RGB Pillow image, turned upright by its EXIF; 16-bit, palette, CMYK and transparent images are converted."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UsageError(f"an array must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return _upright(image)
    with decoder_errors(), Image.open(image) as opened:
        return _upright(opened)


def _reduced_file(opened: Image.Image, side: int) -> NDArray[np.uint8]:
    """``Original.small`` of a file. Its full pixels are not kept: many files are decoded ahead of their crops."""
    if opened.format == "JPEG" and opened.mode in ("RGB", "L") and max(opened.size) >= 2 * side:
        scale = side / max(opened.size)
        opened.draft("RGB", (max(1, int(opened.width * scale)), max(1, int(opened.height * scale))))
        return np.asarray(_upright(opened))
    return _reduced_picture(_upright(opened), side)


def _reduced_picture(full: Image.Image, side: int) -> NDArray[np.uint8]:
    scale = side / max(full.size)
    if scale >= 0.5:
        return np.asarray(full)
    size = (max(1, round(full.width * scale)), max(1, round(full.height * scale)))
    return np.asarray(full.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _in_mode(opened: Image.Image, modes: tuple[str, ...]) -> Image.Image | None:
    if opened.mode == "P" and "transparency" in opened.info and "RGBA" in modes:
        return upright(opened).convert("RGBA")
    if opened.mode.startswith("I;16") and "I;16" in modes:
        return Image.fromarray(np.asarray(upright(opened)).astype(np.uint16))
    return upright(opened).copy() if opened.mode in modes and "transparency" not in opened.info else None


def _upright(opened: Image.Image) -> Image.Image:
    """RGB: its own pixels with its profile, or those of another mode, converted to sRGB by theirs."""
    profile = opened.info.get("icc_profile")
    turned = eight_bits(upright(opened))
    if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
        layer = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    converted = to_srgb(turned, profile) if turned.mode not in ("RGB", "RGBA") else None
    plain = converted or turned.convert("RGB")
    if opened.mode == "RGB" and profile:
        plain.info["icc_profile"] = profile
    else:
        plain.info.pop("icc_profile", None)  # it described the colour space before the conversion
    return plain
