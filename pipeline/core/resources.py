"""Paths of the bundled recipes, photographs and weights: beside the packages in a checkout, inside ``pipeline`` in a wheel."""

import hashlib
from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled(folder: str) -> Path:
    """Path of ``configs`` or ``assets``; raises FileNotFoundError when the installation lacks it."""
    for root in (_PACKAGE.parent, _PACKAGE / "_bundled"):
        if (root / folder).is_dir():
            return root / folder
    raise FileNotFoundError(f"the bundled folder '{folder}' is missing: reinstall procrop-data")


@lru_cache(maxsize=16)
def file_digest(path: str) -> str:
    """First 16 hex digits of a file's sha256; raises FileNotFoundError."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
