"""Photographs of a folder with their split; all crops of a photograph are in its split."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from pipeline.core.errors import UsageError
from pipeline.core.pictures import decoder_errors, upright
from pipeline.core.seeds import fraction_of
from stages.backends.base.protocols import Image

TRAIN, VAL, TEST = "train", "val", "test"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
TEST_SHARE = 0.25  # of the photographs without a split of their own
VAL_SHARE = 0.1


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph.

    Args:
        name: file name, without its extension where that is unique.
        split: ``train``, ``val`` or ``test``.
        pixels: uint8 [H, W, 3].
    """

    name: str
    split: str
    pixels: Image


def read_photographs(
    folder: Path, *, long_side: int = 512, seed: int = 0, lost: Callable[[str], None] = lambda name: None
) -> list[Photograph]:
    """All photographs of a folder, ordered by name; raises UsageError when none can be read.

    The split comes from the folder's ``credits.csv`` (columns ``file`` and ``split``); of the files without one, a
    quarter is held out and a tenth is for validation, by the hash of the name.

    Args:
        folder: of the photographs.
        long_side: of the decoded photographs at most, pixels.
        seed: of the hash.
        lost: called with the name of each image file that cannot be decoded.
    """
    splits = _splits(folder / "credits.csv")
    photographs = []
    files = [path for path in sorted(folder.iterdir() if folder.is_dir() else []) if path.suffix.lower() in EXTENSIONS]
    stems = [path.stem for path in files]
    for path in files:
        if (pixels := _read(path, long_side)) is None:
            lost(path.name)
        else:
            drawn = _draw(fraction_of(seed, "scorer-split", path.name))
            photographs.append(
                Photograph(
                    path.stem if stems.count(path.stem) == 1 else path.name, splits.get(path.name, drawn), pixels
                )
            )
    if not photographs:
        raise UsageError(f"no photograph in {folder}: give a folder of {', '.join(EXTENSIONS)} files")
    return photographs


def _draw(fraction: float) -> str:
    return TEST if fraction < TEST_SHARE else VAL if fraction < TEST_SHARE + VAL_SHARE else TRAIN


def _splits(table: Path) -> dict[str, str]:
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as rows:
        return {row["file"]: row["split"] for row in csv.DictReader(rows) if row.get("split")}


def _read(path: Path, long_side: int) -> Image | None:
    try:
        with decoder_errors(), Pillow.open(path) as opened:
            photo = upright(opened).convert("RGB")
    except OSError:
        return None
    photo.thumbnail((long_side, long_side), Pillow.Resampling.LANCZOS)
    return np.asarray(photo)
