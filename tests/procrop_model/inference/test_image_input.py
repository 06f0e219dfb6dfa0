"""Files as the cropper opens them: what stays in memory, and a JPEG without its end mark."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core.pictures import PictureError
from procrop_model.inference.image_input import Original


@pytest.fixture
def picture():
    coarse = np.random.default_rng(0).integers(0, 255, (9, 12, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((600, 450), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_pixels_of_a_file_are_not_kept_for_its_crop(tmp_path, picture, name):
    picture.save(tmp_path / name)
    original = Original(tmp_path / name)
    assert original.small(64).shape[1] >= 64
    assert original._full is None  # decoded again when a crop is written
    np.testing.assert_allclose(np.asarray(original.full()), np.asarray(picture), atol=12 if name == "a.jpg" else 0)


def test_a_jpeg_without_its_end_mark_is_cropped(tmp_path, picture):
    sink = io.BytesIO()
    picture.save(sink, "JPEG")
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    whole.write_bytes(sink.getvalue())
    cut.write_bytes(sink.getvalue()[:-2])
    for side in (64, 600):
        np.testing.assert_array_equal(Original(cut).small(side), Original(whole).small(side))
    np.testing.assert_array_equal(np.asarray(Original(cut).full()), np.asarray(Original(whole).full()))
    np.testing.assert_array_equal(np.asarray(Original(cut).native("JPEG")), np.asarray(Original(whole).native("JPEG")))
    cut.write_bytes(sink.getvalue()[:-300])
    with pytest.raises(PictureError, match="truncated"):
        Original(cut).full()
