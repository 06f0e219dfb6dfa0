"""CAD, the label files that ProCrop publishes for its out-painted pictures (METHOD 2), and their writer.

Layout: see ``tree``. A line is ``x1 y1 x2 y2 score``, column first, the score in 0 to 10; the pseudo-label (the photograph's own
rectangle) comes first, and there are at most 5 lines.
"""

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import DamagedDataError
from procrop_model.datasets.checks import checked_box, folder_of, image_size, number_rows
from procrop_model.datasets.labelled import LabelledImage, LabelledSet
from procrop_model.datasets.tree import split_files

LINE = "x1 y1 x2 y2 score"
MOST = 5


def read_cad(root: Path | str, split: str = "") -> LabelledSet:
    """All pictures, or those of a split. Raises UsageError and DamagedDataError."""
    labelled = LabelledSet("cad")
    for part, picture, text in split_files(folder_of(root, "the set"), split):
        size, rows = image_size(picture), number_rows(text, 5, LINE)
        if len(rows) > MOST:
            raise DamagedDataError(
                f"{text}:{rows[MOST][0]}: {len(rows)} crops, expected at most {MOST} lines of {LINE}"
            )
        boxes, scores = [], []
        with labelled.leaving_out(picture.name):
            for line, (*box, score) in rows:
                if not 0 <= score <= 10:
                    raise DamagedDataError(f"{text}:{line}: score {score:g}: expected 0 to 10, in lines of {LINE}")
                boxes.append(checked_box(box, size, f"{text}:{line}", labelled.skipped))
                scores.append(score)
            labelled.images.append(LabelledImage(picture.name, picture, part, *size, tuple(boxes), tuple(scores)))
    labelled.require_few_outside()
    labelled.notes.append(", ".join(f"{name} {count}" for name, count in labelled.splits().items()))
    return labelled


def cad_lines(boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> str:
    """The content of a label file: the first box is the pseudo-label, then the best others, at most 5 in all."""
    others = sorted(range(1, len(boxes)), key=lambda i: -scores[i])
    chosen = [0, *others][:MOST] if boxes else []
    return "".join(" ".join(f"{value:.10g}" for value in (*boxes[i], scores[i])) + "\n" for i in chosen)
