"""Boxes. One order everywhere: ``(x1, y1, x2, y2)``, x to the right, y down.

``box_px`` is in pixels, half-open (``x2 - x1`` is the width); ``box_norm`` divides x by the width and y by the height.
"""

from collections.abc import Iterable, Sequence

BoxPx = tuple[int, int, int, int]
Box = Sequence[float]


def area(box: Box) -> float:
    """Area of a box in its own units squared; 0 for an empty or inverted one."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: Box, b: Box) -> float:
    """Area shared by two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]; 0 when both boxes are empty."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def cover(inner: Box, outer: Box) -> float:
    """Share of ``inner`` that lies within ``outer``, in [0, 1]."""
    own = area(inner)
    return intersection(inner, outer) / own if own > 0 else 0.0


def displacement(a: Box, b: Box, width: float, height: float) -> float:
    """Boundary displacement error (BDE) of two boxes of a ``width`` x ``height`` image.

    Mean over the four sides of |dx| / width and |dy| / height (CACNet, protocol of FLMS and FCDB).
    """
    across = abs(a[0] - b[0]) + abs(a[2] - b[2])
    down = abs(a[1] - b[1]) + abs(a[3] - b[3])
    return (across / width + down / height) / 4


def aspect(box: Box) -> float:
    """Width over height; raises ZeroDivisionError for a box without height."""
    return (box[2] - box[0]) / (box[3] - box[1])


def to_norm(box: Box, width: float, height: float) -> tuple[float, float, float, float]:
    """Pixels to fractions of the image."""
    return (box[0] / width, box[1] / height, box[2] / width, box[3] / height)


def to_px(box: Box, width: int, height: int) -> BoxPx:
    """Fractions of the image to whole pixels inside it, at least one pixel a side."""
    x1 = min(max(round(box[0] * width), 0), width - 1)
    y1 = min(max(round(box[1] * height), 0), height - 1)
    x2 = min(max(round(box[2] * width), x1 + 1), width)
    y2 = min(max(round(box[3] * height), y1 + 1), height)
    return (x1, y1, x2, y2)


def to_px_at(box: Box, ratio: float, width: int, height: int) -> list[BoxPx]:
    """Boxes of whole pixels nearest to an aspect ``ratio``, near a box in fractions of the image; the nearest to it first.

    ratio: width over height in pixels. The shorter side is a whole number, and the longer one the whole number nearest to the
    ratio; so both sides are at most half a pixel from it, where the image has such a box.
    """
    found: dict[BoxPx, float] = {}
    sides = (box[2] - box[0]) * width, (box[3] - box[1]) * height
    centre = (box[0] + box[2]) / 2 * width, (box[1] + box[3]) / 2 * height
    for near in (0, 1, -1):
        w, h = _sides_at(round(min(sides)) + near, ratio, width, height)
        for right, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            x1 = min(max(round(centre[0] - w / 2) + right, 0), width - w)
            y1 = min(max(round(centre[1] - h / 2) + down, 0), height - h)
            ends = (x1 - box[0] * width, y1 - box[1] * height, x1 + w - box[2] * width, y1 + h - box[3] * height)
            found.setdefault((x1, y1, x1 + w, y1 + h), max(abs(end) for end in ends))
    return sorted(found, key=found.__getitem__)


def _sides_at(short: int, ratio: float, width: int, height: int) -> tuple[int, int]:
    """Whole width and height nearest to a ratio inside the image, with a shorter side of at most ``short``."""
    long_ratio = max(ratio, 1 / ratio)
    across, along = (height, width) if ratio >= 1 else (width, height)
    short = max(1, min(short, across))
    while short > 1 and round(short * long_ratio) > along:
        short -= 1
    long = max(1, min(round(short * long_ratio), along))
    return (long, short) if ratio >= 1 else (short, long)


def clamp(box: Box, width: float, height: float) -> tuple[float, float, float, float]:
    """The part of a box that lies inside the image."""
    return (
        min(max(box[0], 0.0), width),
        min(max(box[1], 0.0), height),
        min(max(box[2], 0.0), width),
        min(max(box[3], 0.0), height),
    )


def shift_inside(box: Box, width: float, height: float) -> tuple[float, float, float, float]:
    """Move a box, without resizing it, so that it lies inside the image; one larger than the image is cut to it."""
    box_width, box_height = min(box[2] - box[0], width), min(box[3] - box[1], height)
    x1 = min(max(box[0], 0.0), width - box_width)
    y1 = min(max(box[1], 0.0), height - box_height)
    return (x1, y1, x1 + box_width, y1 + box_height)


def whole_pixels(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box moved into an image of ``size`` (width, height) and rounded to whole pixels, at least one a side."""
    x1, y1, x2, y2 = (float(round(v)) for v in shift_inside(box, *size))
    return (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def snap_aspect(box: Box, ratio: float, width: float, height: float) -> tuple[float, float, float, float]:
    """The box of aspect ``ratio`` with the same centre and area, made to fit the image.

    ratio: width over height in pixels. Moved first, shrunk only when it cannot fit.
    """
    size = area(box)
    new_width, new_height = (size * ratio) ** 0.5, (size / ratio) ** 0.5
    shrink = min(1.0, width / new_width, height / new_height)
    new_width, new_height = new_width * shrink, new_height * shrink
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    moved = (cx - new_width / 2, cy - new_height / 2, cx + new_width / 2, cy + new_height / 2)
    return shift_inside(moved, width, height)


def is_distinct(box: Box, others: Iterable[Box], limit: float) -> bool:
    """Whether a box overlaps each of the others with an IoU below ``limit``."""
    return all(iou(box, other) < limit for other in others)
