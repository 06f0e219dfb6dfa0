"""Whether a cropper is measured on photographs that it knows: those it was trained on, and those that are its references."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHOWN = 3


def content_keys(paths: Iterable[Path]) -> dict[Path, str]:
    """Keys of picture files, as ``ingest`` makes them: the first 24 hex digits of the sha256 of their bytes."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest()[:24] for path in set(paths)}


def warnings_of(cropper: Any, folder: Path, photos: set[str]) -> list[str]:
    """One line for each way in which the cropper of a model folder knows some of these photographs."""
    references = {entry.photo for entry in cropper.database.entries}
    told = []
    for known, where in (
        (trained_on(folder), "the cropper was trained on"),
        (references, "are references of the cropper:"),
    ):
        both = sorted(known & photos)
        if both:
            shown = ", ".join(both[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
            verb = where if where.startswith("the") else f"these {where}"
            told.append(
                f"{verb} {len(both)} of the {len(photos)} photographs measured here, so this is no test: {shown}"
            )
    return told


def trained_on(folder: Path) -> set[str]:
    """Photographs of the train split of the run that a model folder lies in (``WORK/models/cropper/cropper``); none elsewhere."""
    from procrop_model.data import read_split

    for above in folder.resolve().parents[1:3]:
        if (above / "dataset" / "shards").is_dir():
            return {sample.photo for sample in read_split(above / "dataset", "train", needed=False).labels()}
    return set()
