"""Inputs of ``crop``: photographs, boxes to keep, a model with its encoder, and pictures of the references."""

import csv
import glob
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ModelError, UsageError
from pipeline.core.escaping import printable
from pipeline.core.pictures import why_unsupported
from stages.photos.credits import parse_credits
from stages.photos.file_names import is_picture_name

if TYPE_CHECKING:
    from PIL import Image

    from procrop_model.retrieval.database import Reference
    from procrop_model.retrieval.query_encoder import QueryEncoder

_log = logging.getLogger("procrop-data")
SHOWN = 5  # names in a warning
Region = tuple[float, float, float, float]


def find_photos(patterns: list[str], out: Path | None = None) -> dict[Path, Path]:
    """The photographs that files, folders and globs name, each once, with its subfolder below the folder that named it.

    out: folder of the crops, whose files are no photographs to crop. Raises UsageError for a pattern that names none.
    """
    photos: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = _readable(sorted(p for p in path.rglob("*") if is_picture_name(str(p)) and p.is_file()))
            places = {file: file.parent.relative_to(path) for file in files}
        elif path.exists():
            places = {path: Path()}
        else:
            places = {Path(p): Path() for p in sorted(glob.glob(pattern, recursive=True)) if Path(p).is_file()}
        if not places:
            raise UsageError(f"no photographs at '{pattern}'")
        places = {file: place for file, place in places.items() if not _is_within(file, out)}
        if not places:
            raise UsageError(
                f"all photographs at '{pattern}' lie in --out '{out}': choose another folder for the crops"
            )
        for file, place in places.items():
            photos.setdefault(file, place)
    return photos


def _readable(files: Sequence[Path]) -> list[Path]:
    """The files of a folder that can be read; the others are reported."""
    skipped = [file for file in files if why_unsupported(file.name)]
    if skipped:
        names = ", ".join(printable(file.name) for file in skipped[:SHOWN])
        more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
        _log.warning("%d pictures are not read: %s%s (%s)", len(skipped), names, more, why_unsupported(skipped[0].name))
    return [file for file in files if file not in set(skipped)]


def _is_within(file: Path, out: Path | None) -> bool:
    return out is not None and file.resolve().is_relative_to(out.resolve())


def regions_by_file(regions: Mapping[str, Sequence[Region]], files: Iterable[Path]) -> dict[Path, list[Region]]:
    """Boxes to keep of each photograph. A name in the CSV fits a file whose path ends with it; one that fits none is reported."""
    found: dict[Path, list[Region]] = {}
    paths = list(files)
    for name, boxes in regions.items():
        fitting = [path for path in paths if _ends_with(path, name)]
        if not fitting:
            _log.warning("--keep-file: no photograph is named '%s', so its boxes are not used", printable(name))
        for path in fitting:
            found.setdefault(path, []).extend(boxes)
    return found


def _ends_with(path: Path, name: str) -> bool:
    wanted = Path(name).parts
    parts = path.resolve().parts
    return parts[-len(wanted) :] == wanted or path.parts == wanted if wanted else False


def read_regions(path: str) -> dict[str, list[Region]]:
    """Boxes to keep by file as the CSV names it, with the columns file, x1, y1, x2, y2; raises UsageError."""
    regions: dict[str, list[Region]] = {}
    if not path:
        return regions
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                box = (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
                if not all(map(math.isfinite, box)):
                    raise ValueError(f"{box} are no coordinates")
                regions.setdefault(row["file"], []).append(box)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UsageError(
            f"--keep-file '{path}': a CSV with the columns file,x1,y1,x2,y2 is needed ({error})"
        ) from error
    return regions


def find_model(model: str, work: str) -> Path:
    """The folder of a cropper: the one named, else the run directory's, else the bundled one. Raises ModelError."""
    from pipeline.core.resources import bundled

    if model:
        return Path(model)
    candidates = [Path(work) / "models" / "cropper" / "cropper", bundled("assets") / "models" / "cropper"]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    raise ModelError(f"no trained cropper in '{candidates[0]}': run 'make train-weak', or name one with --model")


def find_encoder(folder: Path, checkpoint: str) -> "QueryEncoder | None":
    """The encoder of new images that a cropper's references were made with, or None for the embedded one.

    checkpoint: a folder, file or hub id that replaces the recorded one. Raises ModelError and UsageError.
    """
    try:
        settings = json.loads((folder / "references" / "index.json").read_text("utf-8")).get("encoder_settings", {})
    except (OSError, ValueError):
        return None  # loading the cropper raises an error that says what is wrong
    if not settings or settings.get("kind") == "lite0":
        if checkpoint:
            raise UsageError(
                "--encoder-checkpoint: this cropper's references were made with the embedded encoder, drop it"
            )
        return None
    from pydantic import ValidationError

    from stages.backends.registry import ModelSettings

    chosen = {**settings, **({"model": checkpoint} if checkpoint else {})}
    try:
        return ModelSettings.model_validate({"encoder": chosen}).encoder.build()
    except ValidationError as error:
        raise ModelError(
            f"the encoder that the references in '{folder}' record is not known here: {settings}"
        ) from error


def thumbnails_of(folder: str) -> "Callable[[Reference], Image.Image | None]":
    """A function that gives the picture of a reference from a folder of photographs, or None.

    A picture is found by title and author in the folder's ``credits.csv``, or by a file name that is the reference's key.
    Raises UsageError if there is no such folder.
    """
    from PIL import Image

    from pipeline.core.resources import bundled

    home = Path(folder) if folder else bundled("assets") / "photos"
    if not home.is_dir():
        raise UsageError(f"--reference-photos '{folder}': no such folder")
    by_key = {path.stem: path for path in home.rglob("*") if is_picture_name(path.name)}
    by_credit: dict[tuple[str | None, str | None], Path] = {}
    if (home / "credits.csv").is_file():
        rows = parse_credits((home / "credits.csv").read_bytes(), str(home / "credits.csv"))
        by_credit = {(row["title"], row["author"]): home / name for name, row in rows.items()}

    def find(reference: "Reference") -> "Image.Image | None":
        path = by_key.get(reference.key) or by_credit.get((reference.title, reference.author))
        if path is None or not path.is_file():
            return None
        with Image.open(path) as opened:
            opened.draft("RGB", (300, 200))
            return opened.convert("RGB")

    return find
