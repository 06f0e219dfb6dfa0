"""The loader gives the same batches whatever its workers, and goes on in the middle of an epoch."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.errors import DamagedDataError
from pipeline.shards.dataset import ShardSample, ShardSet
from pipeline.shards.epoch_order import EpochOrder, Feed
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.config import CropperConfig
from procrop_model.training.augment import AugmentConfig
from procrop_model.training.loading import SampleLoader, decode_small
from procrop_model.training.samples import read_split
from procrop_model.training.views import Views


def seen(sample: ShardSample) -> tuple[str, int]:
    return sample.key, int(decode_small(sample.parts["jpg"], 32).sum())


def rest(shards: ShardSet, state: dict[str, int] | None, workers: int) -> list[list[tuple[str, int]]]:
    feed = Feed(EpochOrder(len(shards), 2, seed=4))
    if state is not None:
        feed.load_state_dict(state)
    return list(SampleLoader(shards, feed, seen, workers=workers))


def test_any_number_of_workers_goes_on_from_any_batch(workplace: Path) -> None:
    shards = ShardSet.of_split(workplace / "dataset", "train")
    whole = rest(shards, None, 0)
    assert sorted(key for batch in whole for key, _ in batch) == sorted(shards.keys())
    feed = Feed(EpochOrder(len(shards), 2, seed=4))
    for number, batch in enumerate(SampleLoader(shards, feed, seen, workers=2)):
        assert batch == whole[number]
        state = feed.state_dict()  # workers are ahead of it
        assert rest(shards, state, (0, 1, 2)[number]) == whole[number + 1 :]


def test_samples_are_read_by_key_and_labels_without_pixels(workplace: Path) -> None:
    samples = read_split(workplace / "dataset", "train")
    assert list(samples.keys) == sorted(samples.keys) == [sample.key for sample in samples]
    for sample, label in zip(samples, samples.labels(), strict=True):
        assert label.image == b"" and label.crops == sample.crops and label.photo_box == sample.photo_box
        assert sample.decode().image.shape == (sample.height, sample.width, 3)


@pytest.mark.parametrize("size", [(640, 480), (333, 512), (1000, 37)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_small_pictures_are_those_of_a_full_decode(size: tuple[int, int], mode: str) -> None:
    grid = np.add.outer(np.linspace(0, 120, size[1]), np.linspace(0, 120, size[0])).astype(np.uint8)
    picture = Image.fromarray(grid).convert(mode)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=95)
    for side in (64, 150):
        scale = side / max(size)
        expected = np.asarray(
            picture.convert("RGB").resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR)
        )
        for detail in (1, 2):
            found = decode_small(sink.getvalue(), side, detail)
            assert found.shape == expected.shape and found.dtype == np.uint8
            assert np.abs(found.astype(int) - expected).mean() < 2


def test_bytes_that_are_no_picture_are_named() -> None:
    with pytest.raises(DamagedDataError, match="does not decode"):
        decode_small(b"no picture", 64)


def test_a_dropped_view_is_made_again_with_the_same_numbers(workplace: Path, tiny: CropperConfig) -> None:
    extractor = build_network(tiny).extractor
    shared = {"samples": read_split(workplace / "dataset", "val"), "config": tiny, "extractor": extractor, "seed": 1}
    room_for_one = sum(level.nbytes for level in Views(**shared).get(0, 0, AugmentConfig()).levels)
    views = Views(**shared, kept_bytes=room_for_one)
    kept, other = views.get(0, 0, AugmentConfig()), views.get(1, 0, AugmentConfig())
    assert views.get(0, 0, AugmentConfig()) is kept
    again = views.get(1, 0, AugmentConfig())
    assert again is not other
    assert all(torch.equal(a, b) for a, b in zip(again.levels, other.levels, strict=True))
    assert torch.equal(again.targets.boxes, other.targets.boxes)
