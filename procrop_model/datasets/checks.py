"""Checks that readers share: numbers in text, boxes within their picture, pictures that open. Errors name file, line and wish."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.core.errors import DamagedDataError, OutsidePictureError, UsageError
from pipeline.core.geometry import clamp, cover
from pipeline.core.pictures import decoder_errors
from procrop_model.datasets.labelled import BoxXyxy

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MOSTLY = 0.9
CLAMPED = "boxes reached a little beyond their picture and were cut to it"


def folder_of(root: Path | str, name: str) -> Path:
    """The folder of a set; raises UsageError when there is none."""
    folder = Path(root)
    if not folder.is_dir():
        raise UsageError(f"--root '{root}': no such folder; {name} must be there (docs/evaluation.md says where from)")
    return folder


def is_picture(path: Path) -> bool:
    """By its name; what an operating system leaves beside pictures (``._NAME.jpg``) is none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) as stored; raises DamagedDataError for what is no picture."""
    try:
        with decoder_errors(), Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DamagedDataError(f"{path}: expected a picture, but it does not open ({str(error)[:80]})") from error


def number_rows(path: Path, columns: int, wanted: str) -> list[tuple[int, list[float]]]:
    """(line, numbers) of each line that is not blank; raises DamagedDataError for another number of columns, for what is no
    number, and for a file without any.
    """
    rows = []
    for line, text in enumerate(_text(path).splitlines(), 1):
        parts = text.replace(",", " ").split()
        if not parts:
            continue
        try:
            values = [float(part) for part in parts]
        except ValueError as error:
            raise DamagedDataError(f"{path}:{line}: expected {wanted}, found '{text.strip()[:60]}'") from error
        if len(values) != columns or not all(map(math.isfinite, values)):
            raise DamagedDataError(f"{path}:{line}: expected {columns} numbers, {wanted}, found '{text.strip()[:60]}'")
        rows.append((line, values))
    if not rows:
        raise DamagedDataError(f"{path}: no annotation in it, expected lines of {wanted}")
    return rows


def read_json(path: Path) -> Any:
    """The content of a JSON file; a text of JSON within JSON is unpacked, too. Raises DamagedDataError."""
    try:
        value = json.loads(_text(path))
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DamagedDataError(f"{path}: expected JSON, but {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DamagedDataError(f"{path}: expected UTF-8 text, but byte {error.start} is not") from error


def checked_box(box: Sequence[float | str], size: tuple[int, int], where: str, skipped: Counter[str]) -> BoxXyxy:
    """A box ``(x1, y1, x2, y2)`` of a picture of ``size`` (width, height).

    One that reaches at most 2 pixels or 1 % of a side beyond, or with at most a tenth of its area, is cut to the picture and
    counted in ``skipped``: people draw so. Raises OutsidePictureError for any other, and says so when the columns look swapped
    (``LabelledSet.leaving_out`` leaves such a picture out); DamagedDataError for what is no box.
    """
    width, height = size
    try:
        x1, y1, x2, y2 = (float(value) for value in box)
    except (TypeError, ValueError) as error:
        raise DamagedDataError(f"{where}: expected a box of 4 numbers, found {str(box)[:60]}") from error
    shown = f"the box (x1, y1, x2, y2) = ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise DamagedDataError(f"{where}: {shown} has coordinates that are no numbers")
    if x2 <= x1 or y2 <= y1:
        raise DamagedDataError(
            f"{where}: {shown} is empty: expected x1 < x2 and y1 < y2; are the columns in another order?"
        )
    if not _within((x1, y1, x2, y2), width, height):
        swapped = _within((y1, x1, y2, x2), width, height)
        if swapped or cover((x1, y1, x2, y2), (0, 0, width, height)) < MOSTLY:
            fix = (
                "with x and y swapped it would fit: the columns are swapped"
                if swapped
                else "are the labels of another size of this picture, or another picture?"
            )
            raise OutsidePictureError(f"{where}: {shown} lies outside its picture of {width} x {height}; {fix}")
    inside = clamp((x1, y1, x2, y2), width, height)
    if inside != (x1, y1, x2, y2):
        skipped[CLAMPED] += 1
    return inside


def _within(box: BoxXyxy, width: int, height: int) -> bool:
    across, down = max(2.0, 0.01 * width), max(2.0, 0.01 * height)
    return box[0] >= -across and box[1] >= -down and box[2] <= width + across and box[3] <= height + down


class Pictures:
    """Pictures below some folders, by file name or stem; the first folder that has one wins. Raises UsageError for none."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._found: dict[str, Path] = {}
        for folder in folders:
            for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
                if is_picture(path):
                    self._found.setdefault(path.name, path)
                    self._found.setdefault(path.stem, path)
        self.folders = folders

    def find(self, *names: str) -> Path | None:
        """The first of some names (with or without suffix) that is there."""
        return next((self._found[name] for name in names if name in self._found), None)

    def __len__(self) -> int:
        return len(set(self._found.values()))


def require_some(images: Sequence[object], missing: Sequence[str], where: Sequence[Path]) -> None:
    """Raises UsageError when pictures are listed and none is there."""
    if missing and not images:
        places = ", ".join(map(str, where))
        raise UsageError(
            f"none of the {len(missing)} listed pictures is in {places} (the first is {missing[0]}): get them first"
        )
