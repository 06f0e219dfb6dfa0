import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.resources import bundled
from stages.backends.composition_scorer import CompositionScorer
from stages.scorer_training.fitting import Fit
from stages.train_scorer import ScorerTraining, train_scorer
from tests.fakes import FakeOutpainter, FakeSegmenter

TINY = ScorerTraining(
    variants=1, long_side=64, insides=1, views=1, fit=Fit(hidden=4, members=2, steps=10, batch=32, dropout=0.1)
)
SPLITS = {"chelsea.jpg": "train", "drop.jpg": "train", "rocket.jpg": "train", "coffee.jpg": "test"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in SPLITS:
        shutil.copy(bundled("assets") / "photos" / name, folder / name)
    rows = "".join(f"{name},{split}\n" for name, split in SPLITS.items())
    (folder / "credits.csv").write_text("file,split\n" + rows, encoding="utf-8")
    return folder


def test_trains_saves_and_reports_the_same_twice(photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    painter, segmenter = FakeOutpainter(), FakeSegmenter()
    first, second = (
        train_scorer(photos, tmp_path / name, TINY, outpainter=painter, segmenter=segmenter, progress=lines.append)
        for name in ("one", "two")
    )
    assert first["digest"] == second["digest"] and first["accuracy"] == second["accuracy"]
    assert first["photos"] == {"train": ["chelsea", "drop", "rocket"], "test": ["coffee"]}
    assert set(first["accuracy"]) == {"shifted", "tilted", "subject-cut", "inside"}
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in first["accuracy"].values())
    assert any("out-painted" in line for line in lines) and any("looked at" in line for line in lines)
    assert json.loads((tmp_path / "one" / "report.json").read_text(encoding="utf-8"))["digest"] == first["digest"]
    assert first["digest"] in (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    image, box = np.full((40, 60, 3), 90, np.uint8), np.array([[5, 5, 50, 30]], np.float32)
    (scores,) = CompositionScorer(tmp_path / "one", segmenter).score([image], [box])
    assert 0 <= scores[0] <= 10


def test_too_few_photographs_is_a_usage_error(photos: Path, tmp_path: Path) -> None:
    for name in ("drop.jpg", "rocket.jpg"):
        (photos / name).unlink()
    with pytest.raises(UsageError, match="1 photographs to train on and 1 held out"):
        train_scorer(photos, tmp_path / "out", TINY, outpainter=FakeOutpainter(), segmenter=FakeSegmenter())
