"""Options of a crop: aspect ratio, output size and limits, with the parsers of their text forms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from procrop_model.faces.detector import bundled_detector

FaceFinder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
SubjectMask = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Region = tuple[float, float, float, float]
KEEP, OFF = "keep", "off"
FREE, ORIGINAL = "free", "original"
NAMED = {"square": 1.0, "portrait": 2 / 3, "landscape": 3 / 2}  # upright and lying as cameras have them
Aspects = str | float | Sequence[str | float] | None


@dataclass(frozen=True)
class Limits:
    """Constraints on a crop. Where no crop meets them, the one with the smallest violation is given, with ``Crop.fulfilled`` false.

    Args:
        min_size: least (width, height) in pixels of the original, also "800x600"; or a share of its area in 0..1.
        keep: boxes (x1, y1, x2, y2) in pixels of the upright original that must lie wholly inside, such as faces.
        subject: a function from an image uint8 [H, W, 3] to the mask [H, W] in 0..1 of its subject.
        share: least share of the subject mask that must lie inside, in 0..1. Where no crop reaches it, nearly as much as can be
            reached is required.
        faces: ``keep``, with the bundled detector: a crop contains the heads of all prominent faces, and cuts no other; where it
            cannot, the faces from chin to hair. ``off``; or a function from an image to faces [N, 4 or more], xyxy in 0..1.
        margin: the image stays uncropped (with an aspect: its largest crop is taken) unless the best crop's score is higher by at
            least this much.
    """

    min_size: tuple[int, int] | float | str | None = None
    keep: Sequence[Region] = ()
    subject: SubjectMask | None = None
    share: float = 0.9
    faces: FaceFinder | str = KEEP
    margin: float | None = None


@dataclass(frozen=True)
class Aspect:
    """An aspect ratio that was asked for.

    Args:
        name: as it was written, in small letters: ``4:5``, ``square``, ``free``.
        ratio: width / height; None where it is free or that of each image.
    """

    name: str
    ratio: float | None = None

    @property
    def is_free(self) -> bool:
        """Whether crops may have any aspect ratio."""
        return self.ratio is None and self.name != ORIGINAL

    def of(self, size: tuple[int, int]) -> float | None:
        """The ratio for an image of ``size`` (width, height); None for free."""
        return size[0] / size[1] if self.name == ORIGINAL else self.ratio


def parse_aspect(aspect: str | float | None) -> float | None:
    """Width over height of "4:5", "16x9", "1.5", "square", "portrait" (2:3), "landscape" (3:2) or a number; None stays None.

    Raises UsageError.
    """
    if aspect is None:
        return None
    word = str(aspect).strip().lower()
    if word in NAMED:
        return NAMED[word]
    try:
        parts = [float(part) for part in word.replace("x", ":").replace("/", ":").split(":")]
        ratio = parts[0] / parts[1] if len(parts) == 2 else parts[0]
        if len(parts) <= 2 and 0.05 <= ratio <= 20:
            return ratio
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        f"aspect '{aspect}' is not understood: write it as 4:5, 16x9 or 0.8, between 1:20 and 20:1, or as free, original, "
        f"{', '.join(NAMED)}"
    )


def parse_aspects(aspects: Aspects) -> list[Aspect]:
    """One aspect, "4:5", or several, "1:1,4:5" or a sequence; None stands for free. Raises UsageError."""
    if aspects is None:
        return [Aspect(FREE)]
    if isinstance(aspects, str):
        each: Sequence[str | float] = aspects.split(",")
    else:
        each = [aspects] if isinstance(aspects, (int, float)) else list(aspects)
    if not each:
        raise UsageError("aspect: the set is empty, name one such as 4:5")
    return [_parse_one(aspect) for aspect in each]


def _parse_one(aspect: str | float) -> Aspect:
    name = str(aspect).strip().lower()
    return Aspect(name) if name in (FREE, ORIGINAL) else Aspect(name, parse_aspect(aspect))


def aspects_of(aspects: Aspects, size: tuple[int, int] | str | None) -> list[Aspect]:
    """The aspects asked for; an exact size fixes one. Raises UsageError where an aspect contradicts the size."""
    exact, asked = parse_size(size), parse_aspects(aspects)
    if exact is None:
        return asked
    width, height = exact
    if aspects is not None and any(one.ratio is None or abs(one.ratio * height - width) > 1 for one in asked):
        names = ",".join(one.name for one in asked)
        raise UsageError(f"aspect {names} and size {width}x{height} differ: a size fixes the aspect, give one of them")
    if aspects is not None and len(asked) == 1:
        return [Aspect(asked[0].name, width / height)]
    whole = gcd(width, height)
    return [Aspect(f"{width // whole}:{height // whole}", width / height)]


def parse_size(size: tuple[int, int] | str | None) -> tuple[int, int] | None:
    """(width, height) of "1080x1350" or a pair; None stays None. Raises UsageError."""
    if size is None:
        return None
    try:
        width, height = (int(part) for part in (size.lower().split("x") if isinstance(size, str) else size))
        if 1 <= width <= 30000 and 1 <= height <= 30000 and parse_aspect(width / height):
            return (width, height)
    except (ValueError, TypeError):
        pass
    raise UsageError(f"size '{size}' is not understood: write it as 1080x1350")


def parse_min_size(least: tuple[int, int] | float | str | None) -> tuple[int, int] | float | None:
    """(width, height) in pixels, or a share of the area in 0..1; raises UsageError."""
    if least is None or (isinstance(least, str) and not least):
        return None
    try:
        if isinstance(least, tuple) or (isinstance(least, str) and "x" in least.lower()):
            return parse_size(least)
        if 0 < (share := float(least)) <= 1:
            return share
    except (ValueError, UsageError):
        pass
    raise UsageError(f"min-size '{least}' is not understood: write pixels as 800x600, or a share of the area as 0.3")


def face_finder(faces: FaceFinder | str) -> FaceFinder | None:
    """What finds the faces for ``Limits.faces``, None for ``off``; raises UsageError."""
    if not isinstance(faces, str):
        return faces
    if faces == OFF:
        return None
    if faces == KEEP:
        return bundled_detector().faces_of
    raise UsageError(f"faces '{faces}' is not understood: write keep or off")


def parse_region(text: str) -> Region:
    """A box "x1,y1,x2,y2" in pixels of the upright picture; raises UsageError."""
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
        if 0 <= x1 < x2 and 0 <= y1 < y2:
            return (x1, y1, x2, y2)
    except ValueError:
        pass
    raise UsageError(f"keep '{text}' is not understood: write x1,y1,x2,y2 in pixels of the upright picture")
