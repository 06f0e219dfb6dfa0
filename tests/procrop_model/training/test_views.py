"""Views of samples: shapes, cached features, and the same draw whenever a view is made again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from procrop_model.model_folder.build_network import build_network
from procrop_model.network.config import CropperConfig
from procrop_model.training.augment import AugmentConfig
from procrop_model.training.samples import CanvasSet, read_split
from procrop_model.training.views import Views


@pytest.fixture(scope="module")
def samples(workplace: Path) -> CanvasSet:
    return read_split(workplace / "dataset", "train")


def views_of(samples: CanvasSet, config: CropperConfig, **options: int) -> Views:
    torch.manual_seed(0)
    return Views(samples=samples, config=config, extractor=build_network(config).extractor, seed=1, **options)


def test_a_plain_view_has_the_canvas_aspect_and_normalised_boxes(samples: CanvasSet, tiny: CropperConfig) -> None:
    views = views_of(samples, tiny)
    for index, sample in enumerate(samples):
        view = views.drawn(index, 0, None)
        assert view.aspect == pytest.approx(sample.width / sample.height)
        assert view.image is not None
        assert view.image.shape == (3, 64, 64)
        x1, y1, x2, y2 = sample.photo_box
        expected = [(x1 + x2) / 2 / sample.width, (y1 + y2) / 2 / sample.height]
        assert view.targets.boxes[0, :2].tolist() == pytest.approx(expected, abs=1e-6)
        assert view.targets.quality.tolist() == pytest.approx([score / 10 for score in sample.scores])


def test_a_frozen_backbone_runs_once_per_view(samples: CanvasSet, tiny: CropperConfig) -> None:
    views = views_of(samples, tiny)
    first = views.get(0, 0, None)
    assert first.image is None
    assert first.levels is not None
    assert [tuple(level.shape[1:]) for level in first.levels] == [(8, 8), (4, 4), (2, 2)]
    assert views.has(0, 0)
    assert views.get(0, 0, None) is first
    assert first.cells == views.drawn(0, 0, None).cells == 16


def test_without_room_a_view_is_made_again_identically(samples: CanvasSet, tiny: CropperConfig) -> None:
    views = views_of(samples, tiny, kept_bytes=0)
    first, second = (views.get(1, 3, AugmentConfig()) for _ in range(2))
    assert not views.has(1, 3)
    assert first.levels is not None
    assert second.levels is not None
    assert all(torch.equal(a, b) for a, b in zip(first.levels, second.levels, strict=True))
    assert torch.equal(first.targets.boxes, second.targets.boxes)


def test_a_trained_backbone_gets_images(samples: CanvasSet, tiny: CropperConfig) -> None:
    views = views_of(samples, replace(tiny, train_backbone=True, input_mode="fit", input_side=160))
    view = views.get(0, 0, None)
    assert view.levels is None
    assert view.image is not None
    assert view.image.shape == (3, 160, 128)  # 60 x 48 pixels, upright
