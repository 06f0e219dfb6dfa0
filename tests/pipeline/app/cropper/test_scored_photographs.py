"""The table of scored photographs: windows of train photographs alone, scores of the window's own boxes, written once."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.app.cropper.scored_photographs import LEAST, LONG_SIDE, scored_photographs
from pipeline.app.cropper.train import train_config_of
from procrop_model.network.config import AnswerConfig
from stages.backends import registry
from stages.backends.captioners.template import CaptionSettings, TemplateCaptioner
from stages.training.cropper_settings import TrainSettings
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeEncoder, FakeOutpainter, FakeScorer, FakeSegmenter

ANSWER = AnswerConfig(typical=9)


class ByArea(FakeScorer):
    """The share of the picture that a box covers, times ten; counts its calls."""

    calls = 0

    def score(self, pictures, boxes):
        ByArea.calls += 1
        sides = [np.array([*picture.size, *picture.size], np.float64) for picture in pictures]
        shares = [rows / side for rows, side in zip(boxes, sides, strict=True)]
        return [(10 * (rows[:, 2:] - rows[:, :2]).prod(1)).astype(np.float32) for rows in shares]


@pytest.fixture
def session(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "photos", 8)
    found = session_for(recipe_for(photos), tmp_path / "work")
    run_chain(found, until="perceive")
    models = registry.Models(
        TemplateCaptioner(CaptionSettings()), FakeOutpainter(), FakeSegmenter(), ByArea(), FakeEncoder()
    )
    monkeypatch.setattr(registry, "models_of", lambda settings: models)
    return found


def test_windows_have_the_scores_of_their_boxes(session, tmp_path: Path) -> None:
    path = scored_photographs(session, ANSWER, 3, tmp_path, quiet=True)
    rows = pq.read_table(path).to_pylist()
    train = [row["key"] for row in kept_rows(session, "ingest") if row["split"] == "train"]
    assert sorted(row["photo"] for row in rows) == sorted(train * 3) and 0 < len(train) < 8
    for number, row in enumerate(rows):
        window = Image.open(io.BytesIO(row["image"]))
        assert max(window.size) <= LONG_SIDE and (window.size == (320, 240)) == (number % 3 == 0)
        assert row["logits"][-1] == pytest.approx(np.log((1 - LEAST) / LEAST))  # the whole window
        areas = 1 / (1 + np.exp(-np.array(row["logits"])))
        assert (areas[:-1] > 0.3).all() and len(areas) == 9


def test_it_is_written_once_and_anew_for_other_settings(session, tmp_path: Path) -> None:
    path = scored_photographs(session, ANSWER, 1, tmp_path, quiet=True)
    before = ByArea.calls
    assert scored_photographs(session, ANSWER, 1, tmp_path, quiet=True) == path and ByArea.calls == before
    assert scored_photographs(session, ANSWER, 2, tmp_path, quiet=True) != path and ByArea.calls > before


def test_without_windows_or_typical_crops_there_is_none(session, tmp_path: Path) -> None:
    assert scored_photographs(session, ANSWER, 0, tmp_path, quiet=True) is None
    assert scored_photographs(session, AnswerConfig(typical=0), 2, tmp_path, quiet=True) is None


def test_typical_crops_follow_the_training_views() -> None:
    def answer(**augment):
        return train_config_of(TrainSettings.model_validate({"augment": augment}), "cpu").model.answer

    assert answer().fill == (0.35, 1.0) and answer().kept == (0.6, 0.75)
    assert answer(fill=(0.2, 0.9), kept=(0.5, 0.5)).fill == (0.15, 1.0)
    assert answer(fill=(0.2, 0.9), kept=(0.5, 0.5)).kept == (0.5, 0.5)
