"""Search of boxes of an aspect: the ratio is exact, boxes stay inside, and they come in the order of their scores."""

import numpy as np
import pytest

from pipeline.core.resources import bundled
from procrop_model.inference.aspect_search import AspectSearch
from procrop_model.inference.crop_options import Aspect, Limits, parse_aspects
from procrop_model.inference.image_input import Original
from procrop_model.inference.limit_scoring import CropConstraints
from procrop_model.inference.predictor import Predictor
from procrop_model.inference.torch_engine import TorchEngine
from procrop_model.model_folder.save_load import load_model

FREE, SQUARE, OWN = parse_aspects("free,square,original")
SIZES = [(600, 400), (400, 600)]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    image = np.asarray(Original(bundled("assets") / "photos" / "coffee.jpg").small(600))
    return [image, np.ascontiguousarray(image.swapaxes(0, 1))]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    saved = load_model(bundled("assets") / "models" / "cropper")
    return Predictor(TorchEngine(saved.network, saved.config), saved.config, saved.references)


def search_of(predictor: Predictor, images: list[np.ndarray], limits: Limits) -> AspectSearch:
    constraints = [CropConstraints(limits, size, image) for size, image in zip(SIZES, images, strict=True)]
    return AspectSearch(predictor, predictor.encode(images), SIZES, constraints)


@pytest.mark.parametrize("limits", [Limits(), Limits(min_size=0.3)])
def test_boxes_have_the_aspect_and_lie_inside(predictor: Predictor, images: list[np.ndarray], limits: Limits) -> None:
    search = search_of(predictor, images, limits)
    for ratio in (0.8, 16 / 9):
        for (width, height), ranked in zip(SIZES, search.ranked(Aspect("", ratio)), strict=True):
            sides = (ranked.boxes[:, 2:] - ranked.boxes[:, :2]) * [width, height]
            np.testing.assert_allclose(sides[:, 0] / sides[:, 1], ratio, rtol=0.02)
            assert ranked.boxes.min() >= 0
            assert ranked.boxes.max() <= 1
            assert (np.diff(ranked.values) <= 0).all()


def test_free_boxes_without_limits_are_the_proposals(predictor: Predictor, images: list[np.ndarray]) -> None:
    free = search_of(predictor, images, Limits()).ranked(FREE)
    proposals = predictor.propose(predictor.encode(images))
    for ranked, prediction in zip(free, proposals, strict=True):
        np.testing.assert_array_equal(ranked.boxes, prediction.boxes)
        np.testing.assert_array_equal(ranked.values, prediction.scores)


def test_violations_rank_below_every_score(predictor: Predictor, images: list[np.ndarray]) -> None:
    for ranked in search_of(predictor, images, Limits(min_size=0.9)).ranked(SQUARE):
        assert (ranked.values < -1).all()  # a square covers at most two thirds of these images


def test_the_largest_box_touches_two_sides(predictor: Predictor, images: list[np.ndarray]) -> None:
    search = search_of(predictor, images, Limits())
    for ranked, (width, height) in zip(search.largest(SQUARE), SIZES, strict=True):
        sides = (ranked.boxes[:, 2:] - ranked.boxes[:, :2]) * [width, height]
        np.testing.assert_allclose(sides, 400, rtol=1e-3)
    assert all(ranked.boxes.tolist() == [[0, 0, 1, 1]] for ranked in search.largest(FREE))


def test_original_is_the_ratio_of_each_image(predictor: Predictor, images: list[np.ndarray]) -> None:
    for ranked in search_of(predictor, images, Limits()).ranked(OWN):
        sides = ranked.boxes[:, 2:] - ranked.boxes[:, :2]
        np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=0.02)
