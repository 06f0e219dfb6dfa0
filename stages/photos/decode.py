"""Decoding one photograph: the whole file, upright, 8-bit sRGB, or a reason why not."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pipeline.core.errors import SampleError

JPEG_QUALITY = 95
_PLAIN_MODES = {"RGB", "L"}
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I"}


@dataclass(frozen=True)
class PhotoLimits:
    """What ingest accepts. Sides and aspect in pixels and long/short; max_pixels guards memory before decoding."""

    min_side: int
    max_side: int
    max_pixels: int
    max_aspect: float


@dataclass(frozen=True)
class DecodedPhoto:
    """An upright sRGB picture; ``untouched`` when the file's own pixels needed no change at all."""

    image: Image.Image
    untouched: bool


def decode_photo(data: bytes, limits: PhotoLimits) -> DecodedPhoto:
    """Decode fully and check; raises SampleError with a reject word of the ingest stage.

    Full decoding, not ``verify``: only reading all pixels finds truncation.
    """
    image = _open(data)
    _check_size(image, limits)
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise SampleError("animated", f"{image.format} with {image.n_frames} frames")  # type: ignore[attr-defined]
    _load(image)
    upright = ImageOps.exif_transpose(image)
    mode, orientation = image.mode, image.getexif().get(0x0112, 1)
    profile = image.info.get("icc_profile")
    rgb = _to_srgb(upright, profile)
    untouched = image.format == "JPEG" and mode == "RGB" and orientation in (0, 1) and _is_srgb(profile)
    return DecodedPhoto(rgb, untouched)


def encode_jpeg(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """JPEG without chroma subsampling and without metadata; the same picture gives the same bytes."""
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality, subsampling=0)
    return sink.getvalue()


def to_array(data: bytes) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3] of bytes that a stage of ours wrote."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise SampleError("unreadable", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # size warnings; we check the size ourselves
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise SampleError("bomb", str(error)) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise SampleError("unreadable", str(error).split("<")[0].strip()) from error


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


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        cut = "truncated" in str(error) or "not enough" in str(error) or isinstance(error, EOFError)
        raise SampleError("truncated" if cut else "unreadable", str(error)) from error


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bits(image)
    image = _flatten(image)
    if profile and not _is_srgb(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile says nothing about the pixels; treat them as sRGB, as viewers do
        if converted is not None:
            return converted
    return image.convert("RGB")


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


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise SampleError("bad_mode", f"mode {image.mode} with values outside 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8), "L").convert("RGB")


def _is_srgb(profile: bytes | None) -> bool:
    if not profile:
        return True
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return True
    return "srgb" in name.lower()
