"""What the network is shown: sizes, and pictures at the sharpness that it was trained on."""

from dataclasses import replace

import numpy as np
import pytest

from procrop_model.network.config import CropperConfig
from procrop_model.network.preprocess import prepare
from procrop_model.network.resize import input_size, normalised, reduce, to_input_size


@pytest.mark.parametrize(("mode", "wanted"), [("square", (224, 224)), ("fit", (96, 224))])
def test_input_sizes_of_a_wide_picture(mode: str, wanted: tuple[int, int]) -> None:
    assert input_size(1000, 430, CropperConfig(input_mode=mode)) == wanted


def test_large_images_are_reduced_first_and_small_ones_are_not() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)
    assert reduce(image, 50).shape == (30, 50, 3)
    assert reduce(image, 100) is image
    assert reduce(image, 0) is image
    sharp, soft = (prepare(image, CropperConfig(input_side=64, source_side=side)) for side in (0, 16))
    assert soft.shape == sharp.shape == (3, 64, 64)
    assert soft.std() < 0.5 * sharp.std()


@pytest.mark.parametrize("backbone", ["lite0", "resnet18"])
def test_numbers_without_torch_are_those_of_torch(backbone: str) -> None:
    config = replace(CropperConfig(), backbone=backbone, input_side=64, source_side=90)
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)
    np.testing.assert_allclose(
        normalised(to_input_size(image, config), config), prepare(image, config).numpy(), atol=1e-6
    )


def test_other_backbones_get_imagenet_normalisation() -> None:
    grey = np.full((40, 40, 3), 124, np.uint8)
    made = prepare(grey, replace(CropperConfig(), backbone="resnet18"))
    assert made.mean((1, 2)).abs().max() < 0.5
