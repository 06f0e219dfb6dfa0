"""The answer of best expected IoU: worked cases, no better box on a grid."""

import numpy as np
import pytest

from pipeline.core.geometry import iou
from procrop_model.answer.expected_agreement import (
    Opinion,
    best_agreement,
    log_weights,
    opinion_of,
    pairwise_ious,
)
from procrop_model.network.config import AnswerConfig

LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]


def opinion(weights: list[float], boxes: list[list[float]]) -> Opinion:
    return Opinion(np.array(boxes, np.float32), np.array(weights, np.float32))


def test_expected_iou_by_hand() -> None:
    halves = opinion([0.75, 0.25], [LEFT, RIGHT])
    found = halves.expected_iou(np.array([LEFT, RIGHT, [0, 0, 1, 1]]))
    np.testing.assert_allclose(found, [0.75, 0.25, 0.5], atol=1e-6)
    np.testing.assert_allclose(halves.mean, [0.125, 0, 0.625, 1], atol=1e-6)


def test_ious_agree_with_the_project_s_own() -> None:
    rng = np.random.default_rng(0)
    low = rng.random((40, 2)) * 0.6
    boxes = np.concatenate([low, low + 0.1 + rng.random((40, 2)) * 0.3], 1)
    wanted = [[iou(a, b) for b in boxes[20:].tolist()] for a in boxes[:20].tolist()]
    np.testing.assert_allclose(pairwise_ious(boxes[:20], boxes[20:]), wanted, atol=1e-9)
    assert pairwise_ious(np.zeros((1, 4)), boxes[:1])[0, 0] == 0


def test_the_answer_is_the_majority_s_or_a_compromise() -> None:
    clear, value = best_agreement(opinion([0.9, 0.1], [LEFT, RIGHT]), np.array([LEFT, [0.2, 0, 0.7, 1]], np.float32))
    assert clear[int(value.argmax())].tolist() == LEFT and value.max() == pytest.approx(0.9, abs=1e-6)
    near = opinion([0.5, 0.5], [[0.1, 0.1, 0.8, 0.9], [0.2, 0.1, 0.9, 0.9]])
    between, value = best_agreement(near, near.mean[None])
    assert 0.099 <= between[0, 0] <= 0.201 and 0.799 <= between[0, 2] <= 0.901
    assert value[0] >= near.expected_iou(near.boxes).max() - 1e-3


def test_no_box_of_a_grid_is_much_better_than_the_answer() -> None:
    rng = np.random.default_rng(1)
    low = 0.35 * rng.random((12, 2))
    samples = np.concatenate([low, 1 - 0.35 * rng.random((12, 2))], 1).astype(np.float32)
    views = opinion((np.ones(12) / 12).tolist(), samples.tolist())
    _, values = best_agreement(views, np.concatenate([views.mean[None], samples]))
    low, high = np.meshgrid(np.linspace(0, 0.4, 9), np.linspace(0.6, 1, 9))
    sides = np.stack([low.ravel(), high.ravel()], 1)  # [81, 2]
    grid = np.array([[x1, y1, x2, y2] for x1, x2 in sides for y1, y2 in sides])
    assert values.max() >= views.expected_iou(grid).max() - 1e-6


def test_weights_follow_scores_and_settings() -> None:
    config = AnswerConfig(decoded=0.4, sharpness=2.0, fit=1.0, composition=0.5)
    decoded, typical = np.array([LEFT, RIGHT], np.float32), np.array([LEFT, [0, 0, 1, 1]], np.float32)
    found = opinion_of(decoded, np.array([[100.0, 0], [-100, 0]]), typical, np.array([[0.0, 2], [1, 0]]), config)
    assert found.weights.sum() == pytest.approx(1) and found.weights[:2].sum() == pytest.approx(0.4)
    assert found.weights[0] / found.weights[1] == pytest.approx(np.exp(2.0), rel=1e-4)
    assert found.weights[2] == pytest.approx(found.weights[3])  # 0 + 0.5 * 2 = 1 + 0
    assert log_weights(np.array([[3.0]]), config).tolist() == [3.0]
