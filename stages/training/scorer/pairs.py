"""Size-matched pairs of crops to train on: a good crop and a worse one of equal area, on one picture.

Two sources. On a canvas the professional photo's own rectangle is the good crop; the bad ones have its area but lie
elsewhere, have another aspect, or cut the subject. Inside a photo nothing is painted: crops of equal area are ranked by
the subject that they keep and by its place. The areas are equal because pairs of a photo and a smaller crop of it would
only train a preference for size.
"""

from dataclasses import dataclass

import numpy as np

from stages.backends.base.protocols import Floats, Image
from stages.backends.scorers.subject_features import COLUMNS, Array, SubjectMass, subject_features

SHIFTED, TILTED, CUT, INSIDE = "shifted", "tilted", "subject-cut", "inside"
KINDS = (SHIFTED, TILTED, CUT, INSIDE)
MIN_SHIFT = 0.2  # of a side: a smaller move may be as good a crop
CUT_KEEPS = 0.75  # of the subject at most, in a crop that counts as cutting it
INSIDE_GAP = 0.15  # of ``crop_quality``: pairs that differ less are too close to label
CONCENTRATED = 0.2  # concentration of the mask below which a photo has no single subject


@dataclass(frozen=True)
class Example:
    """A picture with crops to compare.

    Args:
        photo: name of its photograph.
        picture: uint8 [H, W, 3].
        boxes: [N, 4], fractions of the picture.
        pairs: (better, worse, kind): rows of ``boxes``, and one of ``KINDS``.
    """

    photo: str
    picture: Image
    boxes: Array
    pairs: tuple[tuple[int, int, str], ...]


def window(centre: Array, area: float, aspect: float) -> Array:
    """Box [4] of the given area and width over height around a centre, in any units."""
    half = np.array([(area * aspect) ** 0.5, (area / aspect) ** 0.5]) / 2
    return np.concatenate([centre - half, centre + half])


def random_window(area: float, aspect: float, size: tuple[int, int], rng: np.random.Generator) -> Array | None:
    """A box in pixels placed uniformly in a picture of ``size`` (width, height); None when it does not fit."""
    width, height = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    if width > size[0] or height > size[1]:
        return None
    x, y = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
    return np.array([x, y, x + width, y + height])


def canvas_example(canvas: Image, photo_box: Array, subject: Floats, photo: str, rng: np.random.Generator) -> Example:
    """Pairs of the photo's rectangle, in pixels of the canvas, with bad crops of its area.

    subject: the photo's own mask, at the size of its rectangle.
    """
    size = (canvas.shape[1], canvas.shape[0])
    mask = np.zeros(canvas.shape[:2], np.float32)
    x1, y1, x2, y2 = (round(side) for side in photo_box)
    mask[y1:y2, x1:x2] = subject
    masses = SubjectMass(mask)
    candidates = {SHIFTED: shifted_windows(photo_box, size, rng), TILTED: tilted_windows(photo_box, size, rng)}
    candidates[CUT] = cutting_windows(photo_box, size, masses, rng) if is_concentrated(subject) else []
    boxes, pairs = [photo_box], []
    for kind, bad in candidates.items():
        pairs += [(0, len(boxes) + index, kind) for index in range(len(bad))]
        boxes += bad
    return Example(photo, canvas, np.stack(boxes) / np.array([*size, *size]), tuple(pairs))


def is_concentrated(mask: Floats) -> bool:
    """Whether a mask has its mass in one place, as that of a single subject."""
    features = subject_features(mask, np.array([[0.0, 0.0, 1.0, 1.0]]))
    return bool(features[0, COLUMNS.index("concentration")] > CONCENTRATED)


def shifted_windows(box: Array, size: tuple[int, int], rng: np.random.Generator, count: int = 6) -> list[Array]:
    """The same window elsewhere: moved by at least a fifth of a side."""
    width, height = box[2:] - box[:2]
    windows: list[Array] = []
    for _ in range(20 * count):
        x, y = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
        if max(abs(x - box[0]) / width, abs(y - box[1]) / height) >= MIN_SHIFT:
            windows.append(np.array([x, y, x + width, y + height]))
        if len(windows) == count:
            break
    return windows


def tilted_windows(box: Array, size: tuple[int, int], rng: np.random.Generator, count: int = 4) -> list[Array]:
    """About the same centre and the same area, with an aspect 1.4 to 2.4 times wider or narrower."""
    width, height = box[2:] - box[:2]
    windows: list[Array] = []
    for _ in range(10 * count):
        factor = rng.uniform(1.4, 2.4) ** rng.choice((-1.0, 1.0))
        centre = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.05, 2) * (width, height)
        made = window(centre, width * height, width / height * factor)
        moved = made + np.tile(np.maximum(0.0, -made[:2]) - np.maximum(0.0, made[2:] - np.array(size)), 2)
        if moved[:2].min() >= -1e-6 and (moved[2:] <= np.array(size) + 1e-6).all():
            windows.append(moved)
        if len(windows) == count:
            break
    return windows


def cutting_windows(
    box: Array, size: tuple[int, int], masses: SubjectMass, rng: np.random.Generator, count: int = 6
) -> list[Array]:
    """Windows of the same area that keep between none and three quarters of the subject."""
    width, height = box[2:] - box[:2]
    whole = masses.kept(box[None])[0]
    windows: list[Array] = []
    for _ in range(30 * count):
        made = random_window(width * height, width / height * np.exp(rng.normal(0, 0.15)), size, rng)
        if made is not None and masses.kept(made[None])[0] <= CUT_KEEPS * whole:
            windows.append(made)
        if len(windows) == count:
            break
    return windows


def inside_example(picture: Image, subject: Floats, photo: str, rng: np.random.Generator, count: int = 24) -> Example:
    """Pairs of equal-area crops of one photo that differ clearly in the subject that they keep and in its place.

    subject: mask at the size of the picture. A photo without one subject gives no pairs.
    """
    height, width = picture.shape[:2]
    if not is_concentrated(subject):
        return Example(photo, picture, np.empty((0, 4)), ())
    area = rng.uniform(0.2, 0.5) * width * height
    aspects = width / height * np.exp(rng.normal(0, 0.2, count))
    made = [random_window(area, aspect, (width, height), rng) for aspect in aspects]
    boxes = np.stack([box for box in made if box is not None]) / np.array([width, height, width, height])
    quality = crop_quality(subject, boxes)
    order = np.argsort(-quality, kind="stable")
    pairs = [
        (int(better), int(worse), INSIDE)
        for rank, better in enumerate(order)
        for worse in order[rank + 1 :: 3]
        if quality[better] - quality[worse] > INSIDE_GAP
    ]
    return Example(photo, picture, boxes, tuple(pairs))


def crop_quality(mask: Floats, boxes: Array) -> Array:
    """Our rule of quality [N] for crops without a label: the subject kept, less its cut and its distance from thirds."""
    column = dict(zip(COLUMNS, subject_features(mask, boxes).T, strict=True))
    cut = np.maximum(column["cut_side_worse"], np.maximum(column["cut_top"], column["cut_bottom"]))
    return np.asarray(column["kept"] - 0.5 * cut - 0.5 * column["off_thirds"])
