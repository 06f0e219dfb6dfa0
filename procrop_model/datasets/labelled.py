"""What every reader of a public cropping set gives, whatever the set's own format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

BoxXyxy = tuple[float, float, float, float]
SHOWN = 3


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
    """The pictures of a set, and what was left out. skipped: counts by reason; missing: pictures that are listed, not here."""

    name: str
    images: list[LabelledImage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def splits(self) -> dict[str, int]:
        """Pictures by split."""
        return dict(Counter(image.split for image in self.images))

    def remarks(self) -> list[str]:
        """Lines for people: notes, what was skipped, what is missing."""
        lines = list(self.notes)
        lines += [f"{count} {reason}" for reason, count in sorted(self.skipped.items())]
        if self.missing:
            shown = ", ".join(self.missing[:SHOWN]) + (", ..." if len(self.missing) > SHOWN else "")
            lines.append(f"{len(self.missing)} listed pictures are not in the folder ({shown})")
        return lines


def only(labelled: LabelledSet, names: Sequence[str]) -> LabelledSet:
    """The pictures of a list of names (with or without suffix), in the set's order; the number is noted."""
    wanted = {Path(name).stem for name in names}
    images = [image for image in labelled.images if Path(image.name).stem in wanted]
    notes = [
        *labelled.notes,
        f"{len(images)} pictures of the {len(wanted)} names given, {len(labelled.images)} in the set",
    ]
    return LabelledSet(labelled.name, images, labelled.skipped, labelled.missing, notes)
