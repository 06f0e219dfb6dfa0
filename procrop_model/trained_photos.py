"""Which photographs a cropper learned from, in its own folder, so that nobody measures it on them unaware.

A photograph's key is the start of the sha256 of its file; 64 bits of it are a mark, 8 bytes each in ``trained_on.npy``. Marks of
different photographs are equal for one in 10^12 among ten million.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.errors import ModelError

FILE = "trained_on.npy"
DIGITS = 16  # hexadecimal, of a key


def save_photos(folder: Path, keys: Iterable[str]) -> None:
    """Write the marks of photographs, ascending."""
    marks = np.unique(np.array([_mark(key) for key in set(keys)], np.uint64))
    partial = folder / f"{FILE}.partial"
    with partial.open("wb") as file:
        np.save(file, marks, allow_pickle=False)
    os.replace(partial, folder / FILE)


def photos_known(folder: Path, keys: Iterable[str]) -> set[str] | None:
    """Those of some photographs that a cropper learned from; None for a model folder that does not tell.

    Raises ModelError when the file is damaged.
    """
    try:
        marks = np.load(folder / FILE, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / FILE} is damaged: {error}") from error
    asked = sorted(set(keys))
    known = np.isin(np.array([_mark(key) for key in asked], np.uint64), marks)
    return {key for key, found in zip(asked, known, strict=True) if found}


def _mark(key: str) -> int:
    """Keys that are not hexadecimal, as those of a foreign dataset may be, are hashed."""
    try:
        return int(key[:DIGITS], 16)
    except ValueError:
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
