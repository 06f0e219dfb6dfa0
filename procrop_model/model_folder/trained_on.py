"""The photographs that a cropper was trained on, recorded in its folder, so that it is not evaluated on them unnoticed.

A photograph's key is the start of the sha256 of its file; 64 bits of it are a mark, 8 bytes each in ``trained_on.npy``. Marks of
different photographs are equal for one in 10^12 among ten million.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError
from pipeline.core.replace_file import replacing

FILE = "trained_on.npy"
DIGEST = re.compile("[0-9a-f]{16}")  # what a mark is made of, at the start of a key


def save_photos(folder: Path, keys: Iterable[str], start: Path | None = None) -> None:
    """Write the marks of photographs to a model folder, ascending, with those of the cropper that the training started from.

    start: its model folder. Raises ModelError when its marks are damaged.
    """
    marks = np.array([_mark(key) for key in set(keys)], np.uint64)
    before = None if start is None else _marks(start)
    marks = np.unique(marks if before is None else np.concatenate([marks, before]))
    with replacing(folder / FILE) as aside, aside.open("wb") as file:
        np.save(file, marks, allow_pickle=False)


def photos_known(folder: Path, keys: Iterable[str]) -> set[str] | None:
    """Those of some photographs that a cropper was trained on; None for a model folder without this record.

    Raises ModelError when the file is damaged.
    """
    if (marks := _marks(folder)) is None:
        return None
    unique = sorted(set(keys))
    known = np.isin(np.array([_mark(key) for key in unique], np.uint64), marks)
    return {key for key, is_known in zip(unique, known, strict=True) if is_known}


def _marks(folder: Path) -> NDArray[np.uint64] | None:
    try:
        marks: NDArray[np.uint64] = np.load(folder / FILE, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / FILE} is damaged: {error}") from error
    return marks


def _mark(key: str) -> int:
    """Keys that do not begin with a digest, as those of a foreign dataset may not, are hashed."""
    if digest := DIGEST.match(key):
        return int(digest.group(), 16)
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
