"""Refit the calibration of a model folder's scores on measured crops; the weights stay."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.replace_file import replacing
from procrop_model.answer.calibration import expected_of, fit_chances
from procrop_model.network.config import CropperConfig

LEAST = 50  # images: two numbers are fitted, and shares of fewer images are noise


def refit_scores(folder: Path, chances: Sequence[float], reached: Sequence[bool]) -> tuple[float, float]:
    """Writes and returns the new slope and offset.

    Args:
        folder: a model folder whose scores are chances.
        chances: scores that the model as it is gave to the top crop of N images.
        reached: whether each has an IoU of 0.75 with the best crop.

    Raises UsageError for fewer than 50 images, or if higher scores do not go with better crops.
    """
    if len(chances) < LEAST:
        raise UsageError(f"a calibration needs at least {LEAST} images, here are {len(chances)}")
    path = folder / "config.json"
    about = json.loads(path.read_text("utf-8"))
    config = CropperConfig.from_json(about["cropper"])
    calibration = fit_chances(expected_of(chances, config.answer.calibration), reached)
    if calibration[0] <= 0:
        raise UsageError(
            "the model's scores do not rise with the IoU of its crops here: the calibration stays as it was"
        )
    about["cropper"] = replace(config, answer=replace(config.answer, calibration=calibration)).to_json()
    with replacing(path) as aside:
        aside.write_text(json.dumps(about, indent=1), "utf-8")
    return calibration
