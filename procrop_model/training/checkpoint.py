"""Checkpoints, written to a temporary file, flushed and renamed, so that a complete one always exists."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import ModelError
from pipeline.core.replace_file import replacing


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Replaces the checkpoint atomically. state: tensors, numbers, strings and containers of them."""
    with replacing(path) as aside, aside.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None when there is none. Only tensors and plain containers are unpickled.

    Raises ModelError when it is damaged.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        why = " ".join(str(error).split())[:200]
        raise ModelError(f"the checkpoint {path} is damaged, remove it to train anew: {why}") from error
    return dict(state)
