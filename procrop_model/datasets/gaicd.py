"""GAICD, versions 1 and 2 (Zeng et al., CVPR 2019 and TPAMI 2020): some 90 crops a picture with mean opinion scores up to 5.

Layout: see ``tree``. A line of an annotation file is ``y1 x1 y2 x2 score``: rows first, as the published loaders read it. A
score of -2 marks a crop that nobody scored; it is left out and counted.
"""

from collections import Counter
from pathlib import Path

from pipeline.core.errors import DamagedDataError
from procrop_model.datasets.checks import checked_box, folder_of, image_size, number_rows
from procrop_model.datasets.labelled import BoxXyxy, LabelledImage, LabelledSet
from procrop_model.datasets.tree import split_files

UNSCORED = -2.0
LINE = "y1 x1 y2 x2 score"
COUNTS = {"v1": {"train": 1036, "test": 200}, "v2": {"train": 2636, "val": 200, "test": 500}}


def read_gaicd(root: Path | str, split: str = "") -> LabelledSet:
    """All pictures, or those of a split; one whose crops are all unscored is left out. Raises UsageError and DamagedDataError."""
    labelled = LabelledSet("gaicd")
    for part, picture, text in split_files(folder_of(root, "GAICD"), split):
        with labelled.leaving_out(picture.name):
            size = image_size(picture)
            boxes, scores = _scored(text, size, labelled.skipped)
            if boxes:
                labelled.images.append(LabelledImage(picture.name, picture, part, *size, tuple(boxes), tuple(scores)))
            else:
                labelled.skipped["pictures without any scored crop"] += 1
    labelled.require_few_outside()
    labelled.notes.append(_version(labelled.splits(), split))
    return labelled


def _scored(text: Path, size: tuple[int, int], skipped: Counter[str]) -> tuple[list[BoxXyxy], list[float]]:
    """The boxes that somebody scored, and their scores."""
    boxes, scores = [], []
    for line, (y1, x1, y2, x2, score) in number_rows(text, 5, LINE):
        where = f"{text}:{line}"
        if score != UNSCORED and not 0 <= score <= 5:
            raise DamagedDataError(f"{where}: score {score:g}: expected a mean opinion of 0 to 5, or -2 for none")
        box = checked_box((x1, y1, x2, y2), size, where, skipped)
        if score == UNSCORED:
            skipped["crops without a score (-2)"] += 1
            continue
        boxes.append(box)
        scores.append(score)
    return boxes, scores


def _version(counts: dict[str, int], split: str) -> str:
    """Which published version the counts are those of."""
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    for version, published in COUNTS.items():
        wanted = {split: published.get(split)} if split else published
        if counts == wanted:
            return f"{shown}: GAICD {version}"
    return f"{shown}: neither GAICD v1 (train 1036, test 200) nor v2 (train 2636, val 200, test 500)"
