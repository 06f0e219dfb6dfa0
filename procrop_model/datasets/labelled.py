"""What every reader of a public cropping set gives, whatever the set's own format."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import OutsidePictureError

BoxXyxy = tuple[float, float, float, float]
SHOWN = 3
MOST_OUTSIDE = (
    0.05  # share of pictures; above it the labels are taken for those of another set, size or order of columns
)


class Pair(NamedTuple):
    """Two boxes of one picture, and how many people preferred each."""

    first: BoxXyxy
    second: BoxXyxy
    votes_first: int
    votes_second: int


@dataclass(frozen=True)
class LabelledImage:
    """One annotated picture.

    boxes: ``(x1, y1, x2, y2)`` in pixels of the picture as it is stored (an EXIF turn is not applied: the published loaders
    of these sets do not agree on it, and their pictures have none). scores: one a box, in the set's own scale. pairs: compared
    boxes, for sets of comparisons. mask, subject_box: where the subject is, for sets that say so.
    """

    name: str
    path: Path
    split: str
    width: int
    height: int
    boxes: tuple[BoxXyxy, ...]
    scores: tuple[float, ...]
    pairs: tuple[Pair, ...] = ()
    mask: Path | None = None
    subject_box: BoxXyxy | None = None


@dataclass
class LabelledSet:
    """The pictures of a set, and what was left out.

    Args:
        name: of the set.
        images: its pictures.
        skipped: counts by reason.
        missing: pictures that are listed, but not in the folder.
        notes: lines for people about the set.
        outside: for each picture that was left out since a box lies far outside it, the error that says so.
    """

    name: str
    images: list[LabelledImage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outside: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def leaving_out(self, name: str) -> Iterator[None]:
        """Reads the boxes of one picture; if one lies far outside it, the picture and all its boxes are left out.

        The picture's other boxes are left out too, even if they fit: a whole picture is turned or replaced, not one of its boxes.
        """
        before = Counter(self.skipped)
        try:
            yield
        except OutsidePictureError as error:
            self.skipped = before
            self.outside[name] = str(error)

    def require_few_outside(self) -> None:
        """Raises OutsidePictureError, for the first box, if more than 5 % of the pictures have a box far outside."""
        count, of_all = len(self.outside), len(self.outside) + len(self.images)
        if count > MOST_OUTSIDE * of_all:
            first = next(iter(self.outside.values()))
            raise OutsidePictureError(f"{first} ({count} of {of_all} pictures have such a box)")

    def splits(self) -> dict[str, int]:
        """Pictures by split."""
        return dict(Counter(image.split for image in self.images))

    def remarks(self) -> list[str]:
        """Lines for people: notes, what was skipped, what is missing."""
        lines = list(self.notes)
        lines += [f"{count} {reason}" for reason, count in sorted(self.skipped.items())]
        if self.outside:
            lines.append(f"{len(self.outside)} pictures left out, with a box far outside ({_some(list(self.outside))})")
        if self.missing:
            lines.append(f"{len(self.missing)} listed pictures are not in the folder ({_some(self.missing)})")
        return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def only(labelled: LabelledSet, names: Sequence[str]) -> LabelledSet:
    """The pictures of a list of names (with or without suffix), in the set's order; the number is noted."""
    wanted = {Path(name).stem for name in names}
    images = [image for image in labelled.images if Path(image.name).stem in wanted]
    notes = [
        *labelled.notes,
        f"{len(images)} pictures of the {len(wanted)} names given, {len(labelled.images)} in the set",
    ]
    return replace(labelled, images=images, notes=notes)
