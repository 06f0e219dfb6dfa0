"""Inputs of ``crop``: photographs, boxes to keep, a model with its encoder, and pictures of the references."""

import csv
import glob
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ModelError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from procrop_model.retrieval.database import Reference
    from procrop_model.retrieval.query_encoder import QueryEncoder

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2")
Region = tuple[float, float, float, float]


def find_photos(patterns: list[str]) -> dict[Path, Path]:
    """The photographs that files, folders and globs name, each once, with its subfolder below the folder that named it.

    Raises UsageError for a pattern that names none.
    """
    photos: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in PHOTO_SUFFIXES)
            places = {file: file.parent.relative_to(path) for file in files}
        elif path.exists():
            places = {path: Path()}
        else:
            places = {Path(p): Path() for p in sorted(glob.glob(pattern, recursive=True)) if Path(p).is_file()}
        if not places:
            raise UsageError(f"no photographs at '{pattern}'")
        for file, place in places.items():
            photos.setdefault(file, place)
    return photos


def read_regions(path: str) -> dict[str, list[Region]]:
    """Boxes to keep by file name, from a CSV with the columns file, x1, y1, x2, y2; raises UsageError."""
    regions: dict[str, list[Region]] = {}
    if not path:
        return regions
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                box = (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
                regions.setdefault(Path(row["file"]).name, []).append(box)
    except (OSError, KeyError, TypeError, ValueError) as error:
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
    by_key = {path.stem: path for path in home.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES}
    by_credit: dict[tuple[str | None, str | None], Path] = {}
    if (home / "credits.csv").is_file():
        with (home / "credits.csv").open(encoding="utf-8", newline="") as file:
            by_credit = {(row.get("title"), row.get("author")): home / row["file"] for row in csv.DictReader(file)}

    def find(reference: "Reference") -> "Image.Image | None":
        path = by_key.get(reference.key) or by_credit.get((reference.title, reference.author))
        if path is None or not path.is_file():
            return None
        with Image.open(path) as opened:
            opened.draft("RGB", (300, 200))
            return opened.convert("RGB")

    return find
