"""FLMS (Fang et al., ACM MM 2014): 500 pictures, 10 crops each by different people. A test set: never train on it.

Layout: ``image/NAME.jpg`` (or ``images``) beside ``500_image_dataset.mat``, whose ``img_gt`` has for each picture its file name and
a matrix of rows ``(y1, x1, y2, x2)``. A row with a negative number is an absent annotation; it is left out and counted.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.checks import Pictures, checked_box, folder_of, image_size, require_some
from procrop_model.datasets.labelled import BoxXyxy, LabelledImage, LabelledSet

FILE = "500_image_dataset.mat"
COUNT = 500
OPINION = 10.0


def read_flms(root: Path | str, split: str = "") -> LabelledSet:
    """All pictures (the only split is ``test``); one whose annotations are all absent is left out. Raises UsageError and
    DamagedDataError.
    """
    folder, labelled = folder_of(root, "FLMS"), LabelledSet("flms")
    if split not in ("", "test"):
        raise UsageError(f"FLMS has the split 'test' alone, no '{split}': it is for testing only")
    if not (folder / FILE).is_file():
        raise UsageError(f"'{folder}' has no {FILE}: FLMS's annotations")
    pictures = Pictures([folder / "image", folder / "images"])
    for where, name, rows in _entries(folder / FILE):
        path = pictures.find(name)
        if path is None:
            labelled.missing.append(name)
            continue
        with labelled.leaving_out(name):
            boxes = _boxes(rows, image_size(path), where, labelled.skipped)
            if boxes:
                image = LabelledImage(name, path, "test", *image_size(path), boxes, (OPINION,) * len(boxes))
                labelled.images.append(image)
            else:
                labelled.skipped["pictures without any annotation"] += 1
    labelled.require_few_outside()
    require_some(labelled.images, labelled.missing, pictures.folders)
    left_out = len(labelled.outside) + labelled.skipped["pictures without any annotation"]
    listed = len(labelled.images) + len(labelled.missing) + left_out
    labelled.notes.append(f"{listed} pictures listed{'' if listed == COUNT else f', the published set has {COUNT}'}")
    return labelled


def _boxes(rows: list[list[float]], size: tuple[int, int], where: str, skipped: Counter[str]) -> tuple[BoxXyxy, ...]:
    boxes = []
    for number, (y1, x1, y2, x2) in enumerate(rows, 1):
        if min(y1, x1, y2, x2) < 0:
            skipped["absent annotations (a negative coordinate)"] += 1
        else:
            boxes.append(checked_box((x1, y1, x2, y2), size, f"{where}, row {number}", skipped))
    return tuple(boxes)


def _entries(file: Path) -> Iterator[tuple[str, str, list[list[float]]]]:
    """(place for errors, file name, rows of 4) of each picture."""
    table = _matlab(file).get("img_gt")
    if table is None:
        raise DamagedDataError(f"{file}: expected the variable img_gt, which is not in it")
    for number, entry in enumerate(np.ravel(table), 1):
        where = f"{file}, picture {number}"
        try:
            name = str(np.ravel(entry[0])[0])
            rows = np.asarray(entry[1], np.float64)
        except (IndexError, TypeError, ValueError, KeyError) as error:
            raise DamagedDataError(f"{where}: expected a file name and a matrix of boxes ({error})") from error
        if rows.ndim != 2 or rows.shape[1] != 4:
            raise DamagedDataError(
                f"{where} ({name}): expected rows (y1, x1, y2, x2), found a matrix of {list(rows.shape)}"
            )
        yield f"{where} ({name})", name, rows.tolist()


def _matlab(file: Path) -> dict[str, Any]:
    # Loaded on need: scipy beside torch at import has made processes abort as they ended.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return dict(loadmat(str(file)))
    except (ValueError, TypeError, OSError, NotImplementedError, MatReadError) as error:
        raise DamagedDataError(f"{file}: expected a MATLAB file of version 5 ({str(error)[:80]})") from error
