from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UsageError
from stages.training.scorer.photo_folder import TEST, TRAIN, VAL, read_photographs
from stages.training.scorer.views import degraded


def put(folder: Path, name: str, size: tuple[int, int] = (80, 50)) -> None:
    rng = np.random.default_rng(len(name))
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)


def test_splits_come_from_credits_and_broken_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "naïve name.jpg"):
        put(tmp_path, name)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "credits.csv").write_text("file,split\na.png,test\nb.jpg,train\n", encoding="utf-8")
    lost: list[str] = []
    found = read_photographs(tmp_path, lost=lost.append)
    assert lost == ["empty.png", "text.jpg"]
    assert [photo.name for photo in found] == ["a", "b", "naïve name"]
    assert [photo.split for photo in found][:2] == [TEST, TRAIN] and found[2].split in (TEST, TRAIN, VAL)


def test_long_side_is_limited_and_rgba_is_read(tmp_path: Path) -> None:
    Image.new("RGBA", (300, 100), (9, 9, 9, 9)).save(tmp_path / "x.png")
    (photo,) = read_photographs(tmp_path, long_side=90)
    assert photo.pixels.shape == (30, 90, 3) and photo.pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_without_photographs_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no photograph"):
        read_photographs(tmp_path / name)


def test_degraded_keeps_size_and_depends_on_the_seed_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 61, 3), dtype=np.uint8)
    first, again, other = (degraded(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == picture.shape and np.array_equal(first, again) and not np.array_equal(first, other)
    assert degraded(picture, np.random.default_rng(1), strength=0) is picture


def test_two_files_of_one_stem_are_two_photographs(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "a.png")
    assert [photo.name for photo in read_photographs(tmp_path)] == ["a.jpg", "a.png"]


def test_without_credits_each_photo_has_one_fixed_split(tmp_path: Path) -> None:
    for number in range(40):
        put(tmp_path, f"{number}.png", (9, 8))
    splits = {photo.name: photo.split for photo in read_photographs(tmp_path)}
    assert {TRAIN, VAL, TEST} == set(splits.values())
    (tmp_path / "0.png").unlink()
    assert all(splits[photo.name] == photo.split for photo in read_photographs(tmp_path))
