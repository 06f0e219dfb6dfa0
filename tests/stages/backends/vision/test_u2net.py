import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled
from stages.backends.base.protocols import Segmenter
from stages.backends.vision.u2net import U2NetSegmenter, u2netp_path


@pytest.fixture(scope="module")
def segmenter() -> U2NetSegmenter:
    return U2NetSegmenter()


@pytest.fixture(scope="module")
def bee() -> np.ndarray:
    with Image.open(bundled("assets") / "photos" / "european-honey-bee.jpg") as photo:
        return np.asarray(photo.convert("RGB").resize((300, 200)))


def test_is_a_segmenter(segmenter: Segmenter) -> None:
    assert segmenter.name == "u2netp" and segmenter.licence == "Apache-2.0"
    assert segmenter.digest == U2NetSegmenter().digest


def test_mask_of_a_non_square_image_covers_the_subject(segmenter: U2NetSegmenter, bee: np.ndarray) -> None:
    (mask,) = segmenter.segment([bee])
    assert mask.shape == (200, 300) and mask.dtype == np.float32
    assert mask.min() >= 0.0 and mask.max() <= 1.0 and mask.max() > 0.9
    assert mask[50:150, 75:225].mean() > 2 * mask.mean()


def test_batched_equals_single_bitwise(segmenter: U2NetSegmenter, bee: np.ndarray) -> None:
    other = bee[:, ::-1]
    batched = segmenter.segment([other, bee])
    assert np.array_equal(batched[1], segmenter.segment([bee])[0])
    assert np.array_equal(batched[0], segmenter.segment([other])[0])


@pytest.mark.parametrize("value", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(40, 60, 3), (1, 1, 3), (1, 500, 3)])
def test_constant_images_give_finite_masks(segmenter: U2NetSegmenter, value: int, shape: tuple[int, int, int]) -> None:
    (mask,) = segmenter.segment([np.full(shape, value, np.uint8)])
    assert mask.shape == shape[:2] and np.isfinite(mask).all()


def test_masks_at_a_given_size_and_at_the_network_s_own(segmenter: U2NetSegmenter, bee: np.ndarray) -> None:
    tall = np.ascontiguousarray(bee.transpose(1, 0, 2))
    own = segmenter.network_masks([bee, tall])
    assert [mask.shape for mask in own] == [(320, 320), (320, 320)]
    assert own[0].min() == 0 and own[0].max() == 1
    small = segmenter.segment([bee, tall], size=(48, 32))
    assert [mask.shape for mask in small] == [(32, 48), (32, 48)]
    full = Image.fromarray(segmenter.segment([bee])[0]).resize((48, 32), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(full) - small[0]).mean() < 0.02


def test_another_side_gives_other_masks_and_another_digest(segmenter: U2NetSegmenter, bee: np.ndarray) -> None:
    smaller = U2NetSegmenter(side=192)
    assert smaller.network_masks([bee])[0].shape == (192, 192)
    assert smaller.segment([bee])[0].shape == bee.shape[:2]
    assert smaller.digest != segmenter.digest


@pytest.mark.parametrize("side", [0, -32, 100])
def test_a_side_that_is_no_multiple_of_32_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"side={side}: give a multiple of 32"):
        U2NetSegmenter(side=side)


def test_no_image_gives_no_mask(segmenter: U2NetSegmenter) -> None:
    assert segmenter.segment([]) == []


def test_pickles_after_use(segmenter: U2NetSegmenter, bee: np.ndarray) -> None:
    expected = segmenter.segment([bee])[0]
    assert np.array_equal(pickle.loads(pickle.dumps(segmenter)).segment([bee])[0], expected)


def test_truncated_weights_are_a_model_error(tmp_path: Path) -> None:
    broken = tmp_path / "u2netp.onnx"
    broken.write_bytes(u2netp_path().read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"u2netp\.onnx"):
        U2NetSegmenter(broken).segment([np.zeros((8, 8, 3), np.uint8)])


def test_missing_weights_are_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        _ = U2NetSegmenter(tmp_path / "missing.onnx").digest
