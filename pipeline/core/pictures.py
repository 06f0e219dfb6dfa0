"""Pictures of strangers: whatever a decoder raises is one class of error, and odd metadata never hides good pixels."""

import importlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

from pipeline.core.errors import ProcropError, SampleError

ORIENTATION = 0x0112
QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_CUT = ("truncated", "not enough", "end of file", "unexpected end", "incomplete")
SRGB_TOLERANCE = 2  # levels of 255: profiles that differ by less from sRGB round differently, no more


ALLOWED = "PROCROP_MAX_PIXELS"  # of the environment: how many pixels a picture may have
MOST_PIXELS = 178_956_970  # beyond which a picture must be allowed: half a gigabyte of RGB
END_OF_JPEG = b"\xff\xd9"
# What other programs call pictures, and the package that teaches Pillow to read them; none for raw files of cameras.
PLUGINS = {".heic": "pillow_heif", ".heif": "pillow_heif", ".hif": "pillow_heif", ".jxl": "pillow_jxl"}
RAW = (
    ".nef", ".cr2", ".cr3", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".psd",
)  # fmt: skip


def why_unsupported(name: str) -> str:
    """Why a picture cannot be read, by its name; empty for one that can be."""
    suffix = os.path.splitext(name.lower())[1]
    if suffix in RAW:
        return f"{suffix} files are not read: develop or export them as JPEG or TIFF"
    package = PLUGINS.get(suffix, "")
    if package and not _has_plugin(package):
        return f"{suffix} files need a plug-in of Pillow: pip install 'procrop-data[formats]'"
    return ""


@cache
def _has_plugin(package: str) -> bool:
    """Whether a plug-in is installed; Pillow reads its formats from then on."""
    try:
        plugin = importlib.import_module(package)  # importing pillow_jxl registers it
    except ImportError:
        return False
    if hasattr(plugin, "register_heif_opener"):
        plugin.register_heif_opener()
    return True


class PictureError(OSError):
    """Bytes that are no picture. reason: ``unreadable``, ``truncated`` or ``bomb`` (too many pixels)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Raise PictureError in place of whatever a decoder raises: on odd bytes that may be any class.

    Errors of the disk, of memory and of the installation pass, as do those of this program.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked by the callers, and odd metadata is no news
            yield
    except (ProcropError, SampleError, PictureError, MemoryError, ImportError):
        raise
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise PictureError(
            "bomb", f"more than {most:,} pixels; set {ALLOWED}=N to allow N, if the file is trusted"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        words = " ".join(str(error).split("<")[0].split())  # Pillow names the object in memory
        cut = isinstance(error, EOFError) or any(mark in words.lower() for mark in _CUT)
        problem = words or type(error).__name__
        if not isinstance(error, OSError | ValueError | SyntaxError | EOFError):
            problem = f"the decoder fails ({type(error).__name__}: {words})"
        raise PictureError("truncated" if cut else "unreadable", problem) from error


def allow_pixels(most: int) -> None:
    """Let Pillow open pictures of so many pixels, for the rest of this process; callers check the size of each."""
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most)


def allow_by_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Let Pillow open pictures of as many pixels as ``ALLOWED`` says, if it says a number."""
    wanted = environment.get(ALLOWED, "")
    if wanted.isdecimal():
        allow_pixels(int(wanted))


def with_end_mark(data: bytes) -> bytes | None:
    """The bytes of a JPEG that lacks only its end mark, with the mark; None for anything else.

    Whether pixels are missing, too, shows by what is put before the mark: it would be decoded in their place.
    """
    body = data.rstrip(b"\xff")
    if not data.startswith(b"\xff\xd8") or body.endswith(END_OF_JPEG):
        return None
    filled = body + b"\x5a\xa5\x3c" * 400 + END_OF_JPEG
    mended = body + END_OF_JPEG
    try:
        with decoder_errors(), Image.open(io.BytesIO(mended)) as one, Image.open(io.BytesIO(filled)) as other:
            same = one.tobytes() == other.tobytes()
    except PictureError:
        return None
    return mended if same else None


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or the metadata is broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - EXIF of strangers raises any class, and the pixels may be fine
        return 1
    return value if value in _TURNS else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a picture that is opened and not yet loaded, as ``upright`` will have them."""
    swapped = image.format != "TIFF" and orientation_of(image) in QUARTER_TURNS  # Pillow swaps those of a TIFF itself
    return image.size[::-1] if swapped else image.size


def upright(image: Image.Image) -> Image.Image:
    """The picture turned by its EXIF orientation; its other metadata is not touched. Raises PictureError."""
    with decoder_errors():
        image.load()
        turn = _TURNS.get(orientation_of(image))
        turned = image.transpose(turn) if turn is not None else image
        turned.info.update({name: image.info[name] for name in ("icc_profile", "transparency") if name in image.info})
        return turned


def eight_bits(image: Image.Image) -> Image.Image:
    """A gray picture of more than 8 bits as one of 8, others as they are.

    Raises PictureError for floating point and for values beyond 16 bits: what is white in them is not known.
    """
    if image.mode == "F":
        raise PictureError(
            "bad_mode", "mode F: floating point, of which white is not known; convert it to 8 or 16 bits"
        )
    if image.mode != "I" and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise PictureError("bad_mode", f"mode {image.mode} with values outside 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8), "L")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """RGB pixels in sRGB by the picture's own profile; None where it has none, or a broken one or one of other channels."""
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception:  # noqa: BLE001 - a broken profile says nothing about the pixels; viewers leave it aside, too
        return None


@lru_cache(maxsize=64)
def is_srgb(profile: bytes | None) -> bool:
    """Whether RGB pixels mean the same with a profile as without, whatever its name says; also for a broken one."""
    if not profile:
        return True
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(27, 27, 3)
    converted = to_srgb(Image.fromarray(lattice), profile)
    return converted is None or int(np.abs(np.asarray(converted, np.int16) - lattice).max()) <= SRGB_TOLERANCE


# Where a point (x, y) in 0..1 of the upright picture lies in the stored one, by EXIF orientation.
STORED: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y), 2: lambda x, y: (1 - x, y), 3: lambda x, y: (1 - x, 1 - y), 4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x), 6: lambda x, y: (y, 1 - x), 7: lambda x, y: (1 - y, 1 - x), 8: lambda x, y: (1 - y, x),
}  # fmt: skip


def to_stored(box: Sequence[float], orientation: int) -> tuple[float, float, float, float]:
    """Convert a box xyxy in 0..1 of the upright picture to one of the picture as the file stores it.

    orientation: the EXIF value, 1 to 8.
    """
    turn = STORED.get(orientation, STORED[1])
    (xa, ya), (xb, yb) = turn(box[0], box[1]), turn(box[2], box[3])
    return (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))


def to_upright(box: Sequence[float], orientation: int) -> tuple[float, float, float, float]:
    """The reverse of ``to_stored``."""
    return to_stored(box, {6: 8, 8: 6}.get(orientation, orientation))


allow_by_environment()
