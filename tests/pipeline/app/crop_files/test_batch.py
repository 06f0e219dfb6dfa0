"""Writing of crops: all of a photograph or none, and one photograph's trouble is not another's."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from pipeline.app.crop_files.batch import CropTask, crop_files
from pipeline.app.crop_files.names import TakenNames
from pipeline.app.crop_files.resume import CropLedger
from procrop_model.crop import Crop
from procrop_model.inference.image_input import Original


class HalfCropper:
    """Two crops of each photograph: its left and its right half."""

    def small_side(self, limits: object) -> int:
        return 64

    def crop_many(self, images: Sequence[Original], **options: object) -> list[list[Crop]]:
        boxes = ((0, 0, 30, 40), (30, 0, 60, 40))
        return [[Crop(box, 0.5, [], 0.75, None, original) for box in boxes] for original in images]


class StoppedLedger(CropLedger):
    def add(self, *row: object) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        Image.new("RGB", (60, 40), "teal").save(file)
    return files


def test_a_stop_leaves_no_crop_that_is_not_recorded(photos: list[Path], tmp_path: Path) -> None:
    task = CropTask(out=tmp_path / "out", ledger=StoppedLedger(tmp_path / "out", "asked"))
    with pytest.raises(KeyboardInterrupt):
        list(crop_files(HalfCropper(), photos, task))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_name_that_is_taken_stops_one_photograph(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_crop2_30x40.png").write_bytes(b"mine")
    task = CropTask(out=out, ledger=CropLedger(out, "asked"), names=TakenNames(overwrite=False))
    first, second = crop_files(HalfCropper(), photos, task)
    assert "a_crop2_30x40.png' exists" in first.entry["error"] and "error" not in second.entry
    assert sorted(path.name for path in out.iterdir()) == [
        "a_crop2_30x40.png", "b_crop1_30x40.png", "b_crop2_30x40.png", "crops.jsonl",
    ]  # fmt: skip
    assert (out / "a_crop2_30x40.png").read_bytes() == b"mine"
    assert CropLedger(out, "asked").find(photos[1]) == second.entry and CropLedger(out, "asked").find(photos[0]) is None
