"""Tables about the images of a set that a user gives as CSV: boxes that another program made, and groups of images.

The first line names the columns; ``file`` is the name of an image as the set or the folder has it, with or without suffix. Other
columns are ignored, and so are files that the set does not have.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.checks import checked_box
from procrop_model.datasets.labelled import BoxXyxy, LabelledImage

FILE, GROUP = "file", "group"
SIDES = ("x1", "y1", "x2", "y2")
SHOWN = 3


def read_box_file(table: Path | str, images: Sequence[LabelledImage]) -> dict[Path, list[BoxXyxy]]:
    """Boxes by image file, from the columns ``file,x1,y1,x2,y2`` in pixels; several lines of one file are its boxes, best first.

    Boxes a little outside their image are cut to it. Raises UsageError without the table, or if an image of the set has no box,
    and DamagedDataError for a line that is no box of its image.
    """
    boxes: dict[Path, list[BoxXyxy]] = {}
    for where, image, row in _rows_of(table, (FILE, *SIDES), images):
        values = [row[side] for side in SIDES]
        box = checked_box(values, (image.width, image.height), where, Counter())
        boxes.setdefault(image.path, []).append(box)
    missing = [image.name for image in images if image.path not in boxes]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise UsageError(
            f"'{table}' has no box of {len(missing)} of the {len(images)} pictures measured ({shown}): "
            "add them, or measure a part with --names"
        )
    return boxes


def read_group_file(table: Path | str, images: Sequence[LabelledImage]) -> dict[Path, str]:
    """The group of each image file, from the columns ``file,group``; images that are not listed have none.

    Raises UsageError without the table or if it has none of the images.
    """
    groups = {image.path: str(row[GROUP]).strip() for _, image, row in _rows_of(table, (FILE, GROUP), images)}
    if not groups:
        raise UsageError(f"'{table}' lists none of the {len(images)} pictures measured")
    return groups


def _rows_of(
    table: Path | str, columns: Sequence[str], images: Sequence[LabelledImage]
) -> Iterator[tuple[str, LabelledImage, dict[str, str]]]:
    """(place for errors, image, row) of each line about an image of the set."""
    if not Path(table).is_file():
        raise UsageError(f"'{table}': no such file; expected a table with the columns {','.join(columns)}")
    by_name = _by_name(images)
    with Path(table).open(encoding="utf-8", newline="") as opened:
        rows = csv.DictReader(opened, skipinitialspace=True)
        absent = [name for name in columns if name not in (rows.fieldnames or ())]
        if absent:
            raise DamagedDataError(f"{table}:1: expected the columns {','.join(columns)}; no {', '.join(absent)}")
        for row in rows:
            for image in by_name.get(_key(str(row[FILE])), ()):
                yield f"{table}:{rows.line_num}", image, row


def _by_name(images: Sequence[LabelledImage]) -> dict[str, list[LabelledImage]]:
    """Images by their names, without suffix: a set may know an image by another name than its file has."""
    found: dict[str, list[LabelledImage]] = {}
    for image in images:
        for key in {_key(image.name), _key(image.path.name)}:
            found.setdefault(key, []).append(image)
    return found


def _key(name: str) -> str:
    return Path(name.strip()).stem
