"""What ``crop`` is given: photographs, boxes to keep, a model with its encoder, and pictures of the references."""

import csv
import glob
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ModelError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from procrop_model.retrieval.database import Reference

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2")
Region = tuple[float, float, float, float]


def find_photos(patterns: list[str]) -> dict[Path, Path]:
    """The files that arguments name, each once, with its place below the folder that named it; raises UsageError for an
    argument that names none.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            hits = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in PHOTO_SUFFIXES)
            places = {hit: hit.parent.relative_to(path) for hit in hits}
        elif path.exists():
            places = {path: Path()}
        else:
            places = {Path(p): Path() for p in sorted(glob.glob(pattern, recursive=True)) if Path(p).is_file()}
        if not places:
            raise UsageError(f"no photographs at '{pattern}'")
        for file, place in places.items():
            found.setdefault(file, place)
    return found


def read_regions(path: str) -> dict[str, list[Region]]:
    """Boxes to keep by file name, of a CSV with the columns file, x1, y1, x2, y2; raises UsageError."""
    found: dict[str, list[Region]] = {}
    if not path:
        return found
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                box = (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
                found.setdefault(Path(row["file"]).name, []).append(box)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"--keep-file '{path}': a CSV with the columns file,x1,y1,x2,y2 is needed ({error})"
        ) from error
    return found


def find_model(model: str, work: str) -> Path:
    """The folder of a cropper: the one named, the run directory's, or the bundled one; raises ModelError."""
    from pipeline.core.resources import bundled

    if model:
        return Path(model)
    candidates = [Path(work) / "models" / "cropper" / "cropper", bundled("assets") / "models" / "cropper"]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    raise ModelError(f"no trained cropper in '{candidates[0]}': run 'make train-weak', or name one with --model")


def find_encoder(folder: Path, checkpoint: str) -> Any:
    """The encoder of new images that a cropper's references were made with, or None for the embedded one.

    checkpoint: a folder, file or hub id in the place of the recorded one. Raises ModelError and UsageError.
    """
    try:
        settings = json.loads((folder / "references" / "index.json").read_text("utf-8")).get("encoder_settings", {})
    except (OSError, ValueError):
        return None  # loading the cropper tells what is wrong
    if not settings or settings.get("kind") == "lite0":
        if checkpoint:
            raise UsageError(
                "--encoder-checkpoint: this cropper's references were made with the embedded encoder, drop it"
            )
        return None
    from pydantic import ValidationError

    from stages.backends.registry import ModelSettings

    given = {**settings, **({"model": checkpoint} if checkpoint else {})}
    try:
        return ModelSettings.model_validate({"encoder": given}).encoder.build()
    except ValidationError as error:
        raise ModelError(
            f"the encoder that the references in '{folder}' record is not known here: {settings}"
        ) from error


def thumbnails_of(folder: str) -> "Callable[[Reference], Image.Image | None]":
    """Pictures of references from a folder of photographs: by title and author in its ``credits.csv``, or by the file's stem
    being the reference's key.
    """
    from PIL import Image

    from pipeline.core.resources import bundled

    home = Path(folder) if folder else bundled("assets") / "photos"
    if not home.is_dir():
        raise UsageError(f"--reference-photos '{folder}': no such folder")
    known: dict[Any, Path] = {p.stem: p for p in home.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES}
    if (home / "credits.csv").is_file():
        with (home / "credits.csv").open(encoding="utf-8", newline="") as file:
            known.update({(row.get("title"), row.get("author")): home / row["file"] for row in csv.DictReader(file)})

    def find(reference: "Reference") -> "Image.Image | None":
        path = known.get(reference.key) or known.get((reference.title, reference.author))
        if path is None or not path.is_file():
            return None
        with Image.open(path) as opened:
            opened.draft("RGB", (300, 200))
            return opened.convert("RGB")

    return find
