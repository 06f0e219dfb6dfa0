"""Tables of boxes and of groups, matched to the images of a set by name."""

from pathlib import Path

import pytest

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.box_file import read_box_file, read_group_file
from procrop_model.datasets.labelled import LabelledImage
from tests.miniature_sets import text

WIDE = LabelledImage("11_ab_c.jpg", Path("data/11.jpg"), "test", 96, 60, (), ())
TALL = LabelledImage("t.jpg", Path("data/t.jpg"), "test", 60, 96, (), ())


def test_boxes_are_found_by_either_name_and_cut_to_the_image(tmp_path: Path) -> None:
    table = text(
        tmp_path / "boxes.csv",
        "x1, file, y1, x2, y2, score\n0,11_ab_c,0,50,61,9\n1,t.jpg,2,30,40,8\n5,11.jpg,5,20,20,7\n0,other.jpg,0,1,1,1\n",
    )
    assert read_box_file(table, [WIDE, TALL]) == {
        WIDE.path: [(0, 0, 50, 60), (5, 5, 20, 20)], TALL.path: [(1, 2, 30, 40)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("file,x1,y1,x2,y2\nt.jpg,0,0,9,9\n", UsageError, r"no box of 1 of the 2 pictures measured \(11_ab_c\.jpg\)"),
        (
            "file,x1,y1,x2,y2\nt.jpg,0,0,900,9\n",
            DamagedDataError,
            r"boxes\.csv:2: .*lies outside its picture of 60 x 96",
        ),
        ("file,x1,y1,x2,y2\nt.jpg,0,0,nine,9\n", DamagedDataError, r"boxes\.csv:2: expected a box of 4 numbers"),
        ("file,x1,y1,x2,y2\nt.jpg,0,0\n", DamagedDataError, r"boxes\.csv:2: expected a box of 4 numbers"),
        ("file,x,y,w,h\n", DamagedDataError, r"boxes\.csv:1: expected the columns file,x1,y1,x2,y2; no x1, y1, x2, y2"),
        ("", DamagedDataError, "expected the columns"),
    ],
)
def test_bad_tables_are_refused(content: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        read_box_file(text(tmp_path / "boxes.csv", content), [WIDE, TALL])
    with pytest.raises(UsageError, match="no such file"):
        read_box_file(tmp_path / "absent.csv", [WIDE])


def test_groups_may_leave_images_out(tmp_path: Path) -> None:
    table = text(tmp_path / "groups.csv", "file,group\nt.jpg, people\n")
    assert read_group_file(table, [WIDE, TALL]) == {TALL.path: "people"}
    with pytest.raises(UsageError, match="lists none of the 1 pictures measured"):
        read_group_file(table, [WIDE])
