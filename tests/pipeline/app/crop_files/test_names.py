"""Names of crops: the template, names that would be the same, and files that are there already."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.app.crop_files.names import DEFAULT_NAME, TakenNames, crop_names, output_marks, parse_name
from pipeline.core.errors import UsageError
from procrop_model.crop import Crop
from procrop_model.inference.image_input import Original


def crops(*aspects: str) -> list[Crop]:
    original = Original(Image.new("RGB", (60, 40)))
    return [Crop((0, 0, 30, 20), 0.5, [], 1.5, None, original, aspect_name=aspect) for aspect in aspects]


def test_files_of_one_name_get_outputs_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / part for part in ("1/IMG_1.JPG", "2/IMG_1.JPG", "2/img_1.jpeg", "2/other.jpg", "2/other.png")]
    marks = output_marks(dict.fromkeys(files, Path()))
    assert set(marks) == {*files[:3], files[4]} and len(set(marks.values())) == 4 and marks[files[4]] == "_png"
    assert output_marks({files[0]: Path("1"), files[1]: Path("2")}) == {}
    assert marks == output_marks(dict.fromkeys(reversed(files), Path()))


def test_a_template_names_aspect_and_number() -> None:
    names = crop_names(parse_name("{name}_{aspect}_{n}"), "a", crops("4:5", "16/9"), [".jpg", ".png"])
    assert names == ["a_4x5_1.jpg", "a_16x9_2.png"]
    assert crop_names(DEFAULT_NAME, "a", crops("free"), [".jpg"]) == ["a_crop1_30x20.jpg"]
    assert crop_names("{name}", "a", crops("1:1", "1:1"), [".jpg", ".jpg"]) == ["a.jpg", "a_2.jpg"]


@pytest.mark.parametrize(
    "wrong", ["{n}", "{name}{score}", "{name", "../{name}", "{name!r}", "{name:>9}", "{name.parent}"]
)
def test_templates_that_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        parse_name(wrong)


def test_only_own_files_are_replaced(tmp_path: Path) -> None:
    there, free = tmp_path / "a.jpg", tmp_path / "b.jpg"
    there.write_bytes(b"1")
    with pytest.raises(UsageError, match="--overwrite replaces it"):
        TakenNames(overwrite=False).claim([free, there], own=[])
    TakenNames(overwrite=False).claim([free, there], own=[str(there)])
    TakenNames(overwrite=True).claim([there], own=[])
    TakenNames(overwrite=False).claim([there], own=[str(tmp_path / "x" / ".." / "a.jpg")])
    names = TakenNames(overwrite=True, taken=[str(there)])
    with pytest.raises(UsageError, match="another photograph"):
        names.claim([there], own=[])
    names.claim([free], own=[])
    with pytest.raises(UsageError, match="another photograph"):
        names.claim([tmp_path / "B.jpg"], own=[])
