"""A smaller cropper: fewer references that cover the others, half the bytes of weights, nearly the same crops."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled
from procrop_model import Cropper
from procrop_model.model_folder.save_load import load_model
from procrop_model.model_folder.slim import slim_model, spread_rows

BUNDLED = bundled("assets") / "models" / "cropper"


def test_rows_cover_the_others() -> None:
    angles = np.array([0.0, 0.01, 0.02, 1.5, 1.51, 3.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    rows = spread_rows(vectors, 3)
    assert len(rows) == 3 and 5 in rows and {0, 1, 2} & set(rows) and {3, 4} & set(rows)
    assert spread_rows(vectors, 9) == list(range(6))


def test_a_smaller_cropper_crops_alike(tmp_path: Path) -> None:
    slim_model(BUNDLED, tmp_path / "slim", 7)
    saved = load_model(tmp_path / "slim")
    assert len(saved.references) == 7 and saved.config == load_model(BUNDLED).config
    assert next(saved.network.parameters()).dtype == torch.float32
    photo = bundled("assets") / "photos" / "rocket.jpg"
    first, second = (Cropper.load(folder)(photo, top=1, k=0)[0].box_px for folder in (BUNDLED, tmp_path / "slim"))
    assert np.abs(np.subtract(first, second)).max() <= 4


def test_it_is_never_written_over_itself(tmp_path: Path) -> None:
    for out, count in ((BUNDLED, 5), (tmp_path, 0)):
        with pytest.raises(UsageError, match="another folder and at least one reference"):
            slim_model(BUNDLED, out, count)
