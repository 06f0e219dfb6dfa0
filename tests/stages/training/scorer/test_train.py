import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.app import main
from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.perceiving import score_images
from stages.training.scorer.fitting import Fit
from stages.training.scorer.train import ScorerTraining, train_composition_scorer
from tests.fakes import FakeOutpainter, FakeSegmenter

TINY = ScorerTraining(
    variants=1,
    long_side=64,
    insides=1,
    views=1,
    fit=Fit(hidden=4, members=2, steps=10, batch=32, dropout=(0.1, 0.1, 0.1)),
)
SPLITS = {"chelsea.jpg": "train", "drop.jpg": "train", "rocket.jpg": "val", "coffee.jpg": "test"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in SPLITS:
        shutil.copy(bundled("assets") / "photos" / name, folder / name)
    rows = "".join(f"{name},{split}\n" for name, split in SPLITS.items())
    (folder / "credits.csv").write_text("file,split\n" + rows, encoding="utf-8")
    return folder


class CountingOutpainter(FakeOutpainter):
    """Paints like its parent, counts, and stops like Ctrl-C after so many canvases."""

    painted, limit = 0, 10**9

    def paint(self, requests):
        self.painted += len(requests)
        if self.painted > self.limit:
            raise KeyboardInterrupt
        return super().paint(requests)


def test_trains_saves_and_reports_the_same_twice(photos: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    painter, segmenter = FakeOutpainter(), FakeSegmenter()
    first, second = (
        train_composition_scorer(
            photos, tmp_path / name, TINY, outpainter=painter, segmenter=segmenter, progress=note(steps)
        )
        for name in ("one", "two")
    )
    assert first["digest"] == second["digest"] and first["accuracy"] == second["accuracy"]
    assert first["photos"] == {"train": ["chelsea", "drop"], "val": ["rocket"], "test": ["coffee"]}
    assert set(first["accuracy"]) == {"shifted", "tilted", "subject-cut", "inside"} >= set(first["cross_validated"])
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in first["accuracy"].values())
    assert set(first["ranking_agreement"]) == {"mirrored", "resized 0.8", "resized 1.25"}
    assert 0 <= first["best_crop"]["by_score"] <= first["best_crop"]["possible"] <= 1
    assert {step for step, _, _ in steps} == {"paint", "look", "fit", "judge"}
    assert all(0 < done <= total for _, done, total in steps)
    told = json.loads((tmp_path / "one" / "report.json").read_text(encoding="utf-8"))
    assert told["digest"] == first["digest"] and not (tmp_path / "one" / "unfinished").exists()
    card = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert first["digest"] in card and f"| {first['accuracy']['tilted']['accuracy']} |" in card
    image, box = np.full((40, 60, 3), 90, np.uint8), np.array([[5, 5, 50, 30]], np.float32)
    (scores,) = score_images(CompositionScorer(tmp_path / "one", segmenter), [image], [box])
    assert 0 <= scores[0] <= 10


def note(steps: list[tuple[str, int, int]]) -> Callable[[str, int, int], None]:
    return lambda step, done, total: steps.append((step, done, total))


def test_resumed_training_has_the_same_digest(photos: Path, tmp_path: Path) -> None:
    out, segmenter = tmp_path / "out", FakeSegmenter()
    whole = train_composition_scorer(photos, out, TINY, outpainter=FakeOutpainter(), segmenter=segmenter)
    before = (out / "model.safetensors").read_bytes()
    painter = CountingOutpainter()
    painter.limit = 2
    with pytest.raises(KeyboardInterrupt):
        train_composition_scorer(photos, out, TINY, outpainter=painter, segmenter=segmenter)
    assert (out / "model.safetensors").read_bytes() == before
    painter.painted, painter.limit = 0, 10**9
    again = train_composition_scorer(photos, out, TINY, outpainter=painter, segmenter=segmenter)
    assert painter.painted == len(SPLITS) - 2 and again["digest"] == whole["digest"]


def test_unreadable_photographs_are_named(photos: Path, tmp_path: Path) -> None:
    whole = (photos / "drop.jpg").read_bytes()
    (photos / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    report = train_composition_scorer(
        photos, tmp_path / "out", TINY, outpainter=FakeOutpainter(), segmenter=FakeSegmenter()
    )
    assert report["unreadable"] == ["torn.jpg"]


def test_too_few_photographs_is_a_usage_error(photos: Path, tmp_path: Path) -> None:
    (photos / "drop.jpg").unlink()
    (photos / "broken.png").write_bytes(b"")
    with pytest.raises(UsageError, match="1 photographs to train on and 1 held out, 1 unreadable"):
        train_composition_scorer(photos, tmp_path / "out", TINY, outpainter=FakeOutpainter(), segmenter=FakeSegmenter())


@pytest.mark.parametrize("photos", ["missing", "a-file.jpg"])
def test_photos_that_are_no_folder_end_the_command_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], photos: str
) -> None:
    (tmp_path / "a-file.jpg").write_bytes(b"x")
    command = ["procrop-data", "train-scorer", "--photos", str(tmp_path / photos), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
