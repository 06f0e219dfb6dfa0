import pickle

import numpy as np
import pytest

from stages.backends.encoders.lite0 import Lite0Backend


@pytest.fixture(scope="module")
def encoder() -> Lite0Backend:
    return Lite0Backend(size=128)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((90, 140, 3), (200, 60, 3))]


def test_shapes_and_norm(encoder: Lite0Backend, pictures: list[np.ndarray]) -> None:
    for encoded in encoder.encode(pictures):
        assert encoded.vector.shape == (320,) and encoded.vector.dtype == np.float32
        assert encoded.grid == (4, 4) and encoded.tokens.shape == (16, 320)
        assert np.linalg.norm(encoded.vector) == pytest.approx(1.0, abs=1e-5)


def test_batched_equals_single_bitwise(encoder: Lite0Backend, pictures: list[np.ndarray]) -> None:
    for batched, picture in zip(encoder.encode(pictures), pictures, strict=True):
        (single,) = encoder.encode([picture])
        assert np.array_equal(batched.vector, single.vector)
        assert np.array_equal(batched.tokens, single.tokens)


def test_pickles_after_use(encoder: Lite0Backend, pictures: list[np.ndarray]) -> None:
    again = pickle.loads(pickle.dumps(encoder))
    assert np.array_equal(again.encode(pictures)[0].vector, encoder.encode(pictures)[0].vector)


def test_digest_names_the_input_size(encoder: Lite0Backend) -> None:
    assert encoder.digest != Lite0Backend(size=256).digest
    assert encoder.encode([]) == []
