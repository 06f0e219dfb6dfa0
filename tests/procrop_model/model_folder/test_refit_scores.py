"""A model folder's scores get a new meaning; what is not fit for it changes nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled
from procrop_model import Cropper
from procrop_model.answer.calibration import calibrated
from procrop_model.model_folder.refit_scores import refit_scores

CROPPER = bundled("assets") / "models" / "cropper"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(CROPPER, tmp_path / "cropper")


def test_the_folder_states_the_chances_that_were_seen(folder: Path) -> None:
    before = json.loads((folder / "config.json").read_text())
    old, rng = Cropper.load(folder).config.answer.calibration, np.random.default_rng(0)
    expected = rng.uniform(0.5, 0.8, 2000).astype(np.float32)
    reached = rng.random(2000) < calibrated(expected, (6.0, -4.0))
    found = refit_scores(folder, calibrated(expected, old).tolist(), reached.tolist())
    assert found == pytest.approx((6.0, -4.0), abs=1.0) and Cropper.load(folder).config.answer.calibration == found
    after = json.loads((folder / "config.json").read_text())
    for about in (before, after):
        about["cropper"]["answer"].pop("calibration")
    assert after == before


@pytest.mark.parametrize("count", [20, 100])
def test_too_few_images_or_scores_that_mislead_are_refused(folder: Path, count: int) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(UsageError, match=r"at least 50|do not rise"):
        refit_scores(folder, np.linspace(0.2, 0.9, count).tolist(), [i < count // 2 for i in range(count)])
    assert (folder / "config.json").read_bytes() == before
