"""Names of crops: no two outputs have one name, and files that are not this command's own are not replaced."""

import hashlib
import os
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.cropper import Crop

DEFAULT_NAME = "{name}_crop{n}_{width}x{height}"
FIELDS = ("name", "aspect", "n", "width", "height")


def parse_name(template: str) -> str:
    """The template, or the default for an empty one. Raises UsageError for unknown fields and for one without ``{name}``."""
    try:
        parts = list(string.Formatter().parse(template or DEFAULT_NAME))
    except ValueError as error:
        raise UsageError(f"--name '{template}': {error}") from error
    used = [field for _, field, _, _ in parts if field is not None]
    plain = all(not form and not conversion for _, field, form, conversion in parts if field is not None)
    text = "".join(literal for literal, _, _, _ in parts)
    if "name" not in used or not set(used) <= set(FIELDS) or not plain or any(sign in text for sign in "/\\:\0"):
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise UsageError(f"--name '{template}': a file name of {known}, with {{name}} and without folders")
    return template or DEFAULT_NAME


def output_marks(places: Mapping[Path, Path]) -> dict[Path, str]:
    """What tells the outputs of files apart that would have the same names: the suffix, or part of a hash of the file's path.

    Names are compared without case, as some file systems do. places: subfolder of the outputs by file.
    """
    names: dict[str, list[Path]] = {}
    for file, place in places.items():
        names.setdefault(f"{place}/{file.stem}".casefold(), []).append(file)
    marks: dict[Path, str] = {}
    for files in names.values():
        if len(files) > 1:
            kinds = [_kind(file) for file in files]
            marks |= {file: _mark(file, alone=kinds.count(_kind(file)) == 1) for file in files}
    return {file: mark for file, mark in marks.items() if mark}


def _kind(file: Path) -> str:
    kind = file.suffix.lower().lstrip(".")
    return "jpg" if kind in ("jpg", "jpeg", "jpe", "jfif") else kind


def _mark(file: Path, *, alone: bool) -> str:
    if alone:
        return "" if _kind(file) == "jpg" else f"_{_kind(file)}"
    return f"-{hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:6]}"


def crop_names(template: str, stem: str, crops: "Sequence[Crop]", suffixes: Sequence[str]) -> list[str]:
    """The file name of each crop of one photograph, all different."""
    names: list[str] = []
    for number, (crop, suffix) in enumerate(zip(crops, suffixes, strict=True), 1):
        width, height = crop.size or (crop.box_px[2] - crop.box_px[0], crop.box_px[3] - crop.box_px[1])
        aspect = crop.aspect_name.replace(":", "x").replace("/", "x")
        name = template.format(name=stem, aspect=aspect, n=number, width=width, height=height)
        names.append(f"{name}_{number}{suffix}" if f"{name}{suffix}" in names else f"{name}{suffix}")
    return names


class TakenNames:
    """Which paths outputs may have.

    Args:
        overwrite: whether files that are there already may be replaced.
        taken: paths of outputs that earlier commands wrote and that stay.
    """

    def __init__(self, *, overwrite: bool, taken: Iterable[str] = ()) -> None:
        self._overwrite = overwrite
        self._taken = {_folded(path) for path in taken}

    def claim(self, paths: Sequence[Path], own: Iterable[str]) -> None:
        """Take the paths for one photograph. Raises UsageError where another photograph of this command has one of them, or
        where a file is there that is not one of its ``own`` of an earlier command.
        """
        mine = {Path(path).resolve() for path in own}
        for path in paths:
            if _folded(path) in self._taken:
                raise UsageError(f"'{path}' is an output of another photograph: choose another --name")
            if not self._overwrite and path.resolve() not in mine and path.exists():
                raise UsageError(f"'{path}' exists: --overwrite replaces it, or choose another --out or --name")
        self._taken |= {_folded(path) for path in paths}


def _folded(path: Path | str) -> str:
    return str(Path(path).resolve()).casefold()
