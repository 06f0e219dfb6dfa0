import numpy as np
import pytest
import torch

from stages.backends.outpainters.small_diffusion.network import MULTIPLE
from stages.backends.outpainters.small_diffusion.painting import ASPECTS, sizes_at
from stages.training.outpainter.crops import CanvasBatches
from stages.training.scorer.photo_folder import Photograph


def crops(*, seed=0, purpose="train", size=32):
    rng = np.random.default_rng(0)
    photographs = [
        Photograph(name, "train", rng.integers(0, 256, shape, np.uint8))
        for name, shape in (("wide", (60, 150, 3)), ("tall", (140, 70, 3)))
    ]
    return CanvasBatches(photographs, size=size, batch=3, seed=seed, purpose=purpose)


@pytest.mark.parametrize("number", range(6))
def test_a_batch_is_of_one_shape_and_known_in_one_rectangle(number):
    batch = crops().batch(number)
    count, channels, height, width = batch.truth.shape
    assert (count, channels) == (3, 3) and (width, height) in sizes_at(32)
    assert batch.known.shape == batch.truth.shape and batch.mask.shape == (3, 1, height, width)
    assert batch.truth.abs().max() <= 1
    for truth, known, mask in zip(batch.truth, batch.known, batch.mask[:, 0] > 0, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        y, x, inner = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), mask.sum()
        assert mask[y, x].all() and mask[y, x].sum() == inner < mask.numel()
        assert torch.equal(truth[:, mask], known[:, mask])
        # Beyond it the photo's edges go on outward, and the truth is another.
        assert torch.equal(known[:, y, 0], known[:, y, x.start])
        assert not torch.equal(truth[:, ~mask], known[:, ~mask])


def test_a_batch_follows_from_seed_purpose_and_number_alone():
    first, other = crops(), crops()
    other.batch(1)
    assert torch.equal(first.batch(4).truth, other.batch(4).truth)
    for different in (crops(seed=1), crops(purpose="held_out")):
        a, b = first.batch(4).truth, different.batch(4).truth
        assert a.shape != b.shape or not torch.equal(a, b)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_model_paints_near_the_aspect_ratio_of_a_canvas(size):
    found = sizes_at(size)
    assert all(width % MULTIPLE == height % MULTIPLE == 0 for width, height in found)
    assert all(0.8 * size**2 < width * height < 1.25 * size**2 for width, height in found)
    stretched = [min(abs(np.log(width / height / aspect)) for width, height in found) for aspect in ASPECTS]
    assert max(stretched) < {16: 0.25, 32: 0.07, 64: 0.04}[size]
