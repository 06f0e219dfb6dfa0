"""Decoding one photograph: the whole file, upright, 8-bit sRGB, or a reason why not."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import SampleError
from pipeline.core.pictures import (
    MOST_PIXELS,
    PictureError,
    allow_pixels,
    decoder_errors,
    eight_bits,
    is_srgb,
    orientation_of,
    to_srgb,
    upright,
    with_end_mark,
)

JPEG_QUALITY = 95
JPEG_PARTS = (2, 4, 8)  # of its size at which a JPEG can be decoded
_PLAIN_MODES = {"RGB", "L"}


@dataclass(frozen=True)
class PhotoLimits:
    """What ingest accepts. Sides and aspect in pixels and long/short; max_pixels guards memory before decoding; long_side: to which
    the picture will be reduced, 0 for not at all.
    """

    min_side: int
    max_side: int
    max_pixels: int
    max_aspect: float
    long_side: int = 0


@dataclass(frozen=True)
class DecodedPhoto:
    """An upright sRGB picture; ``untouched`` when the file's own pixels needed no change at all."""

    image: Image.Image
    untouched: bool


def decode_photo(data: bytes, limits: PhotoLimits) -> DecodedPhoto:
    """Decode fully and check; raises SampleError with a reject word of the ingest stage.

    Full decoding, not ``verify``: only reading all pixels finds truncation.
    """
    if not data:
        raise SampleError("unreadable", "the file is empty")
    try:
        return _decoded(data, limits)
    except PictureError as error:
        mended = with_end_mark(data) if error.reason == "truncated" else None
        if mended is None:
            raise SampleError(error.reason, str(error)) from error
    return DecodedPhoto(_decoded(mended, limits).image, untouched=False)


def _decoded(data: bytes, limits: PhotoLimits) -> DecodedPhoto:
    try:
        with decoder_errors():
            allow_pixels(limits.max_pixels)
            image = Image.open(io.BytesIO(data))
            _check_size(image, limits)
            frames = int(getattr(image, "n_frames", 1))
    except PictureError as error:  # cut within the header: nothing is known of the picture
        raise SampleError("bomb" if error.reason == "bomb" else "unreadable", str(error)) from error
    if frames > 1 and image.format != "MPO":
        raise SampleError("animated", f"{image.format} with {frames} frames")
    with decoder_errors():
        drafted = _draft(image, limits.long_side)
        image.load()
    mode, orientation, profile = image.mode, orientation_of(image), image.info.get("icc_profile")
    rgb = _to_srgb(upright(image), profile)
    untouched = not drafted and image.format == "JPEG" and mode == "RGB" and orientation == 1 and is_srgb(profile)
    return DecodedPhoto(rgb, untouched)


def _draft(image: Image.Image, long_side: int) -> bool:
    """Decode a JPEG of very many pixels at a half, a quarter or an eighth of its size; whether that is so.

    Of ``long_side``, twice as many pixels a side are left, so that the reduction still smooths. Raises PictureError when even an
    eighth has very many.
    """
    width, height = image.size
    if width * height <= MOST_PIXELS or image.format != "JPEG":
        return False
    enough = [part for part in JPEG_PARTS if (width // part) * (height // part) <= MOST_PIXELS]
    if not enough:
        raise PictureError("bomb", f"{width}x{height} has very many pixels even at an eighth of its size")
    fine = [part for part in enough if long_side and max(width, height) // part >= 2 * long_side]
    part = max([enough[0], *fine])
    image.draft(None, (width // part, height // part))
    return True


def encode_jpeg(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """JPEG without chroma subsampling and without metadata; the same picture gives the same bytes."""
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality, subsampling=0)
    return sink.getvalue()


def to_array(data: bytes) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3] of bytes that a stage of ours wrote."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _check_size(image: Image.Image, limits: PhotoLimits) -> None:
    width, height = image.size
    shape = f"{width}x{height}"
    if width * height > limits.max_pixels:
        raise SampleError("bomb", f"{shape} is more than {limits.max_pixels} pixels")
    if max(width, height) > limits.max_side:
        raise SampleError("too_large", f"{shape}: a side is over {limits.max_side}")
    if min(width, height) < limits.min_side:
        raise SampleError("too_small", f"{shape}: a side is under {limits.min_side}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise SampleError("too_long", f"{shape}: longer than {limits.max_aspect}:1")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    with decoder_errors():
        image = _flatten(eight_bits(image))
        converted = None if image.mode == "RGB" and is_srgb(profile) else to_srgb(image, profile)
        return converted or image.convert("RGB")


def _flatten(image: Image.Image) -> Image.Image:
    """Palettes become RGB; an alpha channel goes when it hides nothing, else the picture is no photograph."""
    if image.mode == "P" or image.mode == "1":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = image.getchannel("A").getextrema()
        if alpha[0] != 255:
            raise SampleError("bad_mode", "the picture has transparent parts")
        return image.convert("RGB")
    if image.mode not in _PLAIN_MODES | {"CMYK", "YCbCr", "LAB", "HSV"}:
        raise SampleError("bad_mode", f"mode {image.mode}")
    return image
