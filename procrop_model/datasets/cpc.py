"""CPC, comparative photo composition (Wei et al., CVPR 2018): 24 crops a picture, each judged by several people.

Layout, as the published loaders have it: ``images/NAME.jpg`` beside ``CollectedAnnotationsRaw/NAME.jpg.txt``, either flat or in
folders ``train``, ``val``, ``test``. A file is JSON, often JSON within a JSON text: ``{"scores": one list a person of one number a
crop, "bboxes": [[x1, y1, x2, y2], ...]}``. A crop's score is the mean over people. ``image_crop.json`` of the human-centric
collections is read too: ``{NAME: {"bboxes": ..., "scores": ...}}``, where scores may be one list. CPC has no official split: what
is in no folder of a split is ``train``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.checks import Pictures, checked_box, folder_of, image_size, read_json, require_some
from procrop_model.datasets.labelled import LabelledImage, LabelledSet
from procrop_model.datasets.tree import SPLITS

RAW, COLLECTED = "CollectedAnnotationsRaw", "image_crop.json"
CROPS = 24
WISH = '{"scores": [[...], ...], "bboxes": [[x1, y1, x2, y2], ...]}'


def read_cpc(root: Path | str, split: str = "") -> LabelledSet:
    """All pictures, or those of a split. Raises UsageError and DamagedDataError."""
    folder, labelled, unusual = folder_of(root, "CPC"), LabelledSet("cpc"), 0
    pictures = Pictures([folder / "images"])
    for name, where, about in _entries(folder):
        path = pictures.find(name)
        if path is None:
            labelled.missing.append(name)
            continue
        part = path.parent.name if path.parent.name in SPLITS else "train"
        if split in ("", part):
            with labelled.leaving_out(name):
                image = _image(name, path, part, about, where, labelled)
                unusual += len(image.boxes) != CROPS
                labelled.images.append(image)
    labelled.require_few_outside()
    require_some(labelled.images, labelled.missing, pictures.folders)
    labelled.notes.append(", ".join(f"{name} {count}" for name, count in labelled.splits().items()) or "no pictures")
    if unusual:
        labelled.notes.append(f"{unusual} pictures have another number of crops than {CROPS}")
    return labelled


def _entries(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """(picture, place for errors, content) of each annotation."""
    if (folder / RAW).is_dir():
        for path in sorted((folder / RAW).rglob("*.txt")):
            yield path.name.removesuffix(".txt"), str(path), read_json(path)
    elif (folder / COLLECTED).is_file():
        table = read_json(folder / COLLECTED)
        if not isinstance(table, dict):
            raise DamagedDataError(f"{folder / COLLECTED}: expected an object of pictures by name")
        yield from ((name, f"{folder / COLLECTED}: {name}", about) for name, about in table.items())
    else:
        raise UsageError(f"'{folder}' has neither '{RAW}' with a text a picture nor '{COLLECTED}'")


def _image(name: str, path: Path, split: str, about: Any, where: str, labelled: LabelledSet) -> LabelledImage:
    if not isinstance(about, dict) or not about.get("bboxes") or not about.get("scores"):
        raise DamagedDataError(f"{where}: expected {WISH}, found {str(about)[:60]}")
    boxes = about["bboxes"]
    try:
        votes = np.atleast_2d(np.array(about["scores"], np.float64))  # people x crops
    except (TypeError, ValueError) as error:
        raise DamagedDataError(
            f"{where}: the lists of scores differ in length, or are not numbers: expected {WISH}"
        ) from error
    if votes.ndim != 2 or votes.shape[1] != len(boxes) or not np.isfinite(votes).all():
        raise DamagedDataError(
            f"{where}: scores of shape {list(votes.shape)} for {len(boxes)} boxes: expected people x boxes"
        )
    size = image_size(path)
    checked = [checked_box(box, size, f"{where}, box {i}", labelled.skipped) for i, box in enumerate(boxes, 1)]
    return LabelledImage(name, path, split, *size, tuple(checked), tuple(votes.mean(0).tolist()))
