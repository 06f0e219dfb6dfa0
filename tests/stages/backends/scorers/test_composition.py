import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.perceiving import score_images


def shipped() -> Path:
    return bundled("assets") / "models" / "scorer"


def read(name: str, size: tuple[int, int]) -> np.ndarray:
    with Image.open(bundled("assets") / "photos" / name) as photo:
        return np.asarray(photo.convert("RGB").resize(size))


def some_boxes(image: np.ndarray, count: int) -> np.ndarray:
    height, width = image.shape[:2]
    rng = np.random.default_rng(5)
    start = rng.uniform(0, 0.5, (count, 2))
    ends = start + rng.uniform(0.3, 0.5, (count, 2))
    return (np.concatenate([start, ends], 1) * [width, height, width, height]).astype(np.float32)


@pytest.fixture(scope="module")
def scorer() -> CompositionScorer:
    return CompositionScorer()


@pytest.fixture(scope="module")
def bird() -> np.ndarray:
    return read("kleiber.jpg", (240, 150))


def test_scores_are_float32_in_range_and_differ(scorer: CompositionScorer, bird: np.ndarray) -> None:
    (scores,) = score_images(scorer, [bird], [some_boxes(bird, 100)])
    assert scores.shape == (100,) and scores.dtype == np.float32
    assert scores.min() >= 0 and scores.max() <= 10 and scores.std() > 0.5


def test_a_box_scores_the_same_alone_and_among_others(scorer: CompositionScorer, bird: np.ndarray) -> None:
    boxes = some_boxes(bird, 40)
    (together,) = score_images(scorer, [bird], [boxes])
    alone = np.concatenate([score_images(scorer, [bird], [boxes[i : i + 1]])[0] for i in range(40)])
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(alone, together)
    assert np.array_equal(score_images(scorer, [bird], [boxes[order]])[0], together[order])


def test_batched_equals_single_bitwise(scorer: CompositionScorer, bird: np.ndarray) -> None:
    other = read("coffee.jpg", (140, 200))
    boxes = [some_boxes(other, 7), some_boxes(bird, 5)]
    batched = score_images(scorer, [other, bird], boxes)
    fresh = CompositionScorer()
    assert np.array_equal(batched[0], score_images(fresh, [other], boxes[:1])[0])
    assert np.array_equal(batched[1], score_images(fresh, [bird], boxes[1:])[0])


def test_mirrored_picture_ranks_alike(scorer: CompositionScorer, bird: np.ndarray) -> None:
    boxes = some_boxes(bird, 60)
    flipped = boxes.copy()
    flipped[:, [0, 2]] = bird.shape[1] - boxes[:, [2, 0]]
    (scores,), (mirrored,) = (
        score_images(scorer, [bird], [boxes]),
        score_images(scorer, [np.ascontiguousarray(bird[:, ::-1])], [flipped]),
    )
    assert np.corrcoef(scores, mirrored)[0, 1] > 0.9


def test_subject_kept_beats_subject_cut_at_equal_area(scorer: CompositionScorer) -> None:
    drop = read("coffee.jpg", (300, 200))
    (mask,) = scorer.segmenter.segment([drop])
    x = round(float((mask.sum(0) * np.arange(300)).sum() / mask.sum()))
    whole, cut = (x - 90, 10, x + 90, 190), (x + 5, 10, x + 185, 190)
    (scores,) = score_images(scorer, [drop], [np.array([whole, cut], np.float32)])
    assert scores[0] > scores[1]


def test_nothing_to_score(scorer: CompositionScorer, bird: np.ndarray) -> None:
    assert score_images(scorer, [], []) == []
    (scores,) = score_images(scorer, [bird], [np.empty((0, 4), np.float32)])
    assert scores.shape == (0,)


@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 400, 3)])
def test_flat_and_extreme_pictures_give_finite_scores(scorer: CompositionScorer, shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 90, np.uint8)
    (scores,) = score_images(scorer, [image], [np.array([[0, 0, shape[1], shape[0]]], np.float32)])
    assert np.isfinite(scores).all()


def test_pickles_after_use(scorer: CompositionScorer, bird: np.ndarray) -> None:
    boxes = some_boxes(bird, 4)
    (scores,) = score_images(scorer, [bird], [boxes])
    again = pickle.loads(pickle.dumps(scorer))
    assert again.digest == scorer.digest and np.array_equal(score_images(again, [bird], [boxes])[0], scores)


def test_truncated_weights_are_a_model_error(tmp_path: Path, bird: np.ndarray) -> None:
    broken = tmp_path / "scorer"
    shutil.copytree(shipped(), broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged"):
        score_images(CompositionScorer(broken), [bird], [some_boxes(bird, 1)])


@pytest.mark.parametrize("key", ["features", "segmenter", "subject_features", "version"])
def test_weights_for_other_features_are_refused(tmp_path: Path, bird: np.ndarray, key: str) -> None:
    other = tmp_path / "scorer"
    shutil.copytree(shipped(), other)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps({**config, key: "another"}), encoding="utf-8")
    with pytest.raises(ModelError, match="train-scorer"):
        score_images(CompositionScorer(other), [bird], [some_boxes(bird, 1)])


@pytest.mark.parametrize("content", [None, "", "{}", "[1]"])
def test_missing_or_broken_config_is_a_model_error(tmp_path: Path, bird: np.ndarray, content: str | None) -> None:
    other = tmp_path / "scorer"
    shutil.copytree(shipped(), other)
    (other / "config.json").unlink()
    if content is not None:
        (other / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="train-scorer"):
        score_images(CompositionScorer(other), [bird], [some_boxes(bird, 1)])


def test_digest_without_weights_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train-scorer"):
        _ = CompositionScorer(tmp_path).digest
