import numpy as np
import pytest

from pipeline.core.records import MASK_SIDE
from stages.backends.base.picture import LazyPicture, mask_grid, soft_mask, unpack_mask


def test_pixels_are_loaded_once_and_only_on_demand() -> None:
    loaded = []

    def load() -> np.ndarray:
        loaded.append(1)
        return np.zeros((4, 6, 3), np.uint8)

    picture = LazyPicture((6, 4), load)
    part = picture.part("a/")
    assert loaded == []
    assert part.image is picture.image and loaded == [1]


def test_a_part_has_the_maps_of_its_prefix_alone() -> None:
    one, two = (np.full((1, 2, 2), value, np.float16) for value in (1, 2))
    picture = LazyPicture((2, 2), lambda: np.zeros((2, 2, 3), np.uint8), maps={"0/x": one, "1/x": two})
    assert list(picture.part("1/").maps) == ["x"] and picture.part("1/").maps["x"] is two
    assert picture.part("2/").maps == {}


@pytest.mark.parametrize("shape", [(320, 320), (90, 300), (40, 30)])
def test_a_mask_grid_keeps_the_shares_of_a_mask(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.float32)
    mask[: shape[0] // 2, shape[1] // 2 :] = 1
    grid = mask_grid(mask)
    assert grid.shape == (MASK_SIDE, MASK_SIDE) and grid.dtype == np.uint8
    assert soft_mask(grid).mean() == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(unpack_mask(grid.tobytes()), grid)
