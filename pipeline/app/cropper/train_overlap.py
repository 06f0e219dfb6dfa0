"""Whether a cropper is measured on photographs that it knows: from its training, or as its references."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procrop_model import Cropper

SHOWN = 3


def content_keys(paths: Iterable[Path]) -> dict[Path, str]:
    """Keys of picture files, as ``ingest`` makes them: the first 24 hex digits of the sha256 of their bytes."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest()[:24] for path in set(paths)}


def overlap_warnings(cropper: "Cropper", folder: Path, photos: set[str]) -> list[str]:
    """One line for each way in which a cropper knows some of the measured photographs.

    Args:
        cropper: the loaded model.
        folder: that it was loaded from.
        photos: content keys of the measured photographs.
    """
    references = {entry.photo for entry in cropper.database.entries}
    warnings = []
    for known, words in (
        (trained_on(folder, photos), "the cropper was trained on"),
        (references & photos, "these are references of the cropper:"),
    ):
        if known:
            shown = ", ".join(sorted(known)[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
            warnings.append(
                f"{words} {len(known)} of the {len(photos)} photographs measured here, so this is no test: {shown}"
            )
    return warnings


def trained_on(folder: Path, photos: set[str]) -> set[str]:
    """The photographs among ``photos`` that a cropper was trained on.

    They come from the record in its folder; if it has none, from the train split of the run directory around the folder
    (``WORK/models/cropper/cropper``), if there is one.
    """
    from procrop_model.model_folder.trained_on import photos_known
    from procrop_model.training.samples import read_split

    if (known := photos_known(folder, photos)) is not None:
        return known
    for above in folder.resolve().parents[1:3]:
        if (above / "dataset" / "shards").is_dir():
            return photos & {sample.photo for sample in read_split(above / "dataset", "train", needed=False).labels()}
    return set()
