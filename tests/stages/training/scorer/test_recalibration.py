import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ModelError, UsageError
from pipeline.core.resources import bundled
from stages.training.scorer.recalibration import canvas_examples, recalibrate
from tests.fakes import FakeSegmenter

SHIPPED = bundled("assets") / "models" / "scorer"


@dataclass(frozen=True)
class Canvas:
    """A photo in the middle of grey."""

    key: str
    photo: str
    pixels: np.ndarray
    original: np.ndarray
    box_px: tuple[int, int, int, int]


def canvas_of(photo: str, number: int) -> Canvas:
    original = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    pixels = np.full((80, 120, 3), 128, np.uint8)
    pixels[20:60, 30:90] = original
    return Canvas(f"{photo}-{number}", photo, pixels, original, (30, 20, 90, 60))


def shipped_masks() -> FakeSegmenter:
    """A fake that passes for the segmenter that the bundled scorer was trained with."""
    config = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))
    return FakeSegmenter(digest=config["segmenter"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "scorer")
    return tmp_path / "scorer"


def test_a_canvas_gives_pairs_with_its_frame_first() -> None:
    canvas = canvas_of("a", 0)
    examples = canvas_examples(canvas, FakeSegmenter(), 0)
    assert examples and all(example.pairs and example.photo == "a" for example in examples)
    np.testing.assert_allclose(examples[0].boxes[0], [0.25, 0.25, 0.75, 0.75])


def test_the_head_stays_and_the_card_and_the_report_follow(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    before, weights = ((folder / name).read_bytes() for name in ("config.json", "model.safetensors"))
    photos = [("a", "train"), ("b", "train"), ("a", "train"), ("b", "train"), ("c", "test")]
    canvases = [(canvas_of(photo, number), split) for number, (photo, split) in enumerate(photos)]
    done = recalibrate(folder, canvases, shipped_masks(), seed=0)
    assert (folder / "model.safetensors").read_bytes() == weights
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["calibration"]
    assert config["lead"] == done.model.calibration.lead >= 0 and config["scale"] == done.model.calibration.scale > 0
    assert (folder / "config.json").read_bytes() != before  # which the digest of the scorer covers
    renewed = (folder / "README.md").read_text(encoding="utf-8")
    row = json.loads((folder / "report.json").read_text(encoding="utf-8"))["calibration"]["all"]
    assert f"| all | {row['sure']} | {row['right']} | {row['error']} |" in renewed
    head, limits = card[: card.index("## Held-out figures")], card[card.index("## Limits") :]
    assert renewed.startswith(head) and renewed.endswith(limits)


def test_one_photograph_is_too_few(folder: Path) -> None:
    with pytest.raises(UsageError, match="two photographs"):
        recalibrate(folder, [(canvas_of("a", 0), "train")], shipped_masks(), seed=0)


def test_a_folder_without_a_scorer_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train-scorer"):
        recalibrate(tmp_path, [], shipped_masks(), seed=0)
