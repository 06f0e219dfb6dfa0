import pytest

from stages.backends.outpainters.diffusion.batch_size import LARGEST, find_batch, largest
from stages.backends.registry import ModelSettings

GB = 1e9


@pytest.mark.parametrize(
    ("free", "each", "batch"), [(70, 2, 16), (70, 40, 1), (10, 2, 4), (1, 2, 1), (1000, 1, LARGEST), (22, 2.25, 8)]
)
def test_the_largest_power_of_two_whose_peak_fits(free, each, batch):
    base = 1.0
    assert largest(free * GB, (base + each) * GB, (base + 2 * each) * GB) == batch
    if 1 < batch < LARGEST:
        assert base + batch * each <= 0.9 * free < base + 2 * batch * each


def test_a_processor_paints_one_at_a_time():
    painter = ModelSettings.model_validate({"outpainter": {"kind": "sd15-inpaint", "device": "cpu"}}).outpainter
    assert painter.batch == "auto" and find_batch(painter) == 1
