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
    for both, where in (
        (trained_on(folder, photos), "the cropper was trained on"),
        (references & photos, "are references of the cropper:"),
    ):
        if both:
            shown = ", ".join(sorted(both)[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
            verb = where if where.startswith("the") else f"these {where}"
            told.append(
                f"{verb} {len(both)} of the {len(photos)} photographs measured here, so this is no test: {shown}"
            )
    return told


def trained_on(folder: Path, photos: set[str]) -> set[str]:
    """Those of some photographs that a cropper learned from, as its folder tells; one that does not is asked for the train
    split of the run that it lies in (``WORK/models/cropper/cropper``), if it lies in one.
    """
    from procrop_model.model_folder.trained_on import photos_known
    from procrop_model.training.samples import read_split

    if (known := photos_known(folder, photos)) is not None:
        return known
    for above in folder.resolve().parents[1:3]:
        if (above / "dataset" / "shards").is_dir():
            return photos & {sample.photo for sample in read_split(above / "dataset", "train", needed=False).labels()}
    return set()
