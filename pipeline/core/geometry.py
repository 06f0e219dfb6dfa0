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
