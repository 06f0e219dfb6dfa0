"""Every reader on a miniature in its published layout, and what it says of bad input: file, line and what was expected."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.cad import cad_lines, read_cad
from procrop_model.datasets.checks import CLAMPED
from procrop_model.datasets.cpc import read_cpc
from procrop_model.datasets.fcdb import read_fcdb, read_fcdb_pairs
from procrop_model.datasets.flms import read_flms
from procrop_model.datasets.gaicd import read_gaicd
from procrop_model.datasets.labelled import only
from procrop_model.datasets.registry import DATASETS, dataset_format
from procrop_model.datasets.sacd import read_sacd
from tests.miniature_sets import MAKERS, TALL, WIDE, cad, cpc, dump, fcdb, flms, gaicd, picture, sacd, text, write_flms


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_boxes_are_column_first_and_inside_their_picture(name: str, tmp_path: Path) -> None:
    found = DATASETS[name].read(MAKERS[name](tmp_path), "")
    assert found.images and found.notes
    for image in found.images:
        assert (image.width, image.height) in (WIDE, TALL) and image.path.is_file()
        assert len(image.boxes) == len(image.scores)
        for x1, y1, x2, y2 in [*image.boxes, *(box for pair in image.pairs for box in pair[:2])]:
            assert 0 <= x1 < x2 <= image.width and 0 <= y1 < y2 <= image.height
        if image.scores:
            tens = DATASETS[name].to_ten(image.scores)
            assert all(0 <= score <= 10 for score in tens)
            assert np.argmax(tens) == np.argmax(image.scores)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_folder_of_something_else_is_refused_with_the_layout(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "holiday.jpg", WIDE)
    with pytest.raises(UsageError, match=r"has no|neither"):
        DATASETS[name].read(tmp_path, "")
    with pytest.raises(UsageError, match="no such folder"):
        DATASETS[name].read(tmp_path / "absent", "")


def test_an_unknown_format_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="gaicd, cpc, fcdb"):
        dataset_format("ava")


def test_gaicd_turns_rows_first_and_skips_what_nobody_scored(tmp_path: Path) -> None:
    found = read_gaicd(gaicd(tmp_path), "test")
    wide, tall = found.images
    assert wide.boxes[1] == (2, 3, 95, 56) and tall.boxes[1] == (2, 3, 59, 92)
    assert len(wide.boxes) == 13 and found.skipped["crops without a score (-2)"] == 2
    assert found.splits() == {"test": 2} and "neither GAICD v1" in found.notes[0]
    assert dataset_format("gaicd").to_ten((1.0, 3.0, 5.0)) == (0.0, 5.0, 10.0)


def test_gaicd_reads_flat_annotations_and_lists_of_names(tmp_path: Path) -> None:
    row = "1 2 50 90 3.5\n"
    picture(tmp_path / "images" / "x.y.jpg", WIDE)
    text(tmp_path / "annotations" / "x.y.txt", row)
    text(tmp_path / "test.txt", "x.y\n")
    (image,) = read_gaicd(tmp_path).images
    assert image.boxes == ((2, 1, 90, 50),) and image.split == "test"
    text(tmp_path / "test.txt", "x.y.jpg\nother.jpg\n")
    with pytest.raises(DamagedDataError, match=r"test\.txt:2: 'other\.jpg' is listed"):
        read_gaicd(tmp_path)


def test_gaicd_all_unscored_leaves_the_picture_out(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "test" / "n.jpg", WIDE)
    text(tmp_path / "annotations" / "test" / "n.txt", "1 2 50 90 -2\n")
    found = read_gaicd(tmp_path)
    assert found.images == [] and found.skipped["pictures without any scored crop"] == 1


BAD_LINES = [
    ("", "no annotation in it, expected lines of y1 x1 y2 x2 score"),
    ("\n  \n", "no annotation in it"),
    ("1 2 50 90\n", ":1: expected 5 numbers"),
    ("1 2 50 90 3\n1 2 fifty 90 3\n", ":2: expected y1 x1 y2 x2 score"),
    ("1 2 50 90 nan\n", ":1: expected 5 numbers"),
    ("1 2 50 90 7\n", ":1: score 7: expected a mean opinion of 0 to 5"),
    ("2 1 90 50 3\n", r"with x and y swapped it would fit"),
    ("1 2 500 900 3\n", "labels of another size"),
    ("50 90 1 2 3\n", "expected x1 < x2"),
]


@pytest.mark.parametrize(("content", "words"), BAD_LINES)
def test_a_bad_line_is_named_by_file_line_and_wish(content: str, words: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "test" / "n.jpg", WIDE)
    text(tmp_path / "annotations" / "test" / "n.txt", content)
    with pytest.raises(DamagedDataError, match=words) as caught:
        read_gaicd(tmp_path)
    assert "n.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_a_box_a_little_outside_is_cut_and_counted(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "test" / "n.jpg", WIDE)
    text(tmp_path / "annotations" / "test" / "n.txt", "-1 0 61.5 97 3\n")
    found = read_gaicd(tmp_path)
    assert found.images[0].boxes == ((0, 0, 96, 60),) and found.skipped[CLAMPED] == 1
    text(tmp_path / "annotations" / "test" / "n.txt", "10 5 60 100 3\n")  # 4 pixels of 95 are outside
    assert read_gaicd(tmp_path).images[0].boxes == ((5, 10, 96, 60),)
    text(tmp_path / "annotations" / "test" / "n.txt", "10 5 60 107 3\n")  # more than a tenth
    with pytest.raises(DamagedDataError, match="lies outside its picture of 96 x 60"):
        read_gaicd(tmp_path)


def outside_set(root: Path, count: int) -> Path:
    """Pictures with two boxes each; of the first one a box is far outside, another a little."""
    for number in range(count):
        picture(root / "images" / "test" / f"{number:02}.jpg", WIDE, number)
        lines = "-1 0 60 96 3\n1 2 500 900 3\n" if number == 0 else "0 0 50 90 2\n1 2 50 90 3\n"
        text(root / "annotations" / "test" / f"{number:02}.txt", lines)
    return root


def test_a_picture_with_a_box_far_outside_is_left_out(tmp_path: Path) -> None:
    found = read_gaicd(outside_set(tmp_path, 20))
    assert [image.name for image in found.images] == [f"{number:02}.jpg" for number in range(1, 20)]
    assert list(found.outside) == ["00.jpg"] and "00.txt:2" in found.outside["00.jpg"]
    assert found.skipped[CLAMPED] == 0  # the box of a picture that is left out is not counted as cut
    assert "1 pictures left out, with a box far outside (00.jpg)" in found.remarks()


def test_a_set_with_many_boxes_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedDataError, match=r"00\.txt:2: .*\(1 of 19 pictures have such a box\)"):
        read_gaicd(outside_set(tmp_path, 19))


@pytest.mark.parametrize("read", [read_fcdb, read_fcdb_pairs])
def test_fcdb_leaves_out_a_photograph_that_was_turned(read, tmp_path: Path) -> None:
    entries = []
    for number in range(20):
        picture(tmp_path / "data" / f"{number}.jpg", WIDE, number)
        box = [0, 0, 40, 30] if number else [0, 0, 40, 96]
        pair = {"crop_0": [1, 1, 50, 50], "crop_1": box, "vote_for_0": 4, "vote_for_1": 1}
        entries.append({"url": f"x/{number}.jpg", "crop": box, "crops": [pair]})
    dump(tmp_path / "cropping_training_set.json", entries)
    dump(tmp_path / "ranking_annotation.json", entries)
    found = read(tmp_path, "train")
    assert len(found.images) == 19 and list(found.outside) == ["0.jpg"]


def test_what_is_no_picture_and_what_has_no_annotation(tmp_path: Path) -> None:
    text(tmp_path / "images" / "test" / "n.jpg", "words")
    text(tmp_path / "annotations" / "test" / "n.txt", "1 2 50 90 3\n")
    with pytest.raises(DamagedDataError, match=r"n\.jpg: expected a picture"):
        read_gaicd(tmp_path)
    (tmp_path / "annotations" / "test" / "n.txt").unlink()
    with pytest.raises(DamagedDataError, match=r"n\.jpg: no annotations; expected .*n\.txt"):
        read_gaicd(tmp_path)
    with pytest.raises(UsageError, match="no split 'val': it has test"):
        read_gaicd(tmp_path, "val")


def test_cad_keeps_the_pseudo_label_first(tmp_path: Path) -> None:
    found = read_cad(cad(tmp_path))
    assert found.images[0].boxes == ((10, 5, 90, 55), (0, 0, 80, 50)) and found.images[0].scores == (7.5, 8.25)
    lines = cad_lines([(10, 5, 90, 55)] + [(i, 0, 80 + i, 50) for i in range(6)], [1, 2, 3, 4, 5, 6, 7.25])
    assert [line.split()[-1] for line in lines.splitlines()] == ["1", "7.25", "6", "5", "4"]
    text(tmp_path / "annotations" / "test" / "q.txt", "5 10 55 90 9\n" * 6)
    with pytest.raises(DamagedDataError, match=r"q\.txt:6: 6 crops, expected at most 5"):
        read_cad(tmp_path)
    text(tmp_path / "annotations" / "test" / "q.txt", "5 10 55 90 11\n")
    with pytest.raises(DamagedDataError, match="expected 0 to 10"):
        read_cad(tmp_path)


def test_fcdb_finds_pictures_by_url_or_id_and_lists_the_others(tmp_path: Path) -> None:
    found = read_fcdb(fcdb(tmp_path), "test")
    assert [image.boxes for image in found.images] == [((4, 6, 84, 56),)] * 2
    assert found.missing == ["13_ab_c.jpg"]
    assert "1 listed pictures are not in the folder (13_ab_c.jpg)" in found.remarks()
    assert "3 pictures listed (neither the official 345 nor" in found.notes[0]


def test_fcdb_pairs_have_votes(tmp_path: Path) -> None:
    (image,) = read_fcdb_pairs(fcdb(tmp_path)).images
    assert image.pairs[0] == ((4, 6, 84, 56), (0, 0, 40, 30), 4, 1) and image.boxes == ()


def test_fcdb_bad_files(tmp_path: Path) -> None:
    fcdb(tmp_path)
    file = tmp_path / "cropping_testing_set.json"
    dump(file, [{"url": "x/11_ab_c.jpg", "flickr_photo_id": 11, "crop": [6, 4, 50, 80]}])
    with pytest.raises(DamagedDataError, match=r"entry 1 \(11_ab_c\.jpg\).*columns are swapped"):
        read_fcdb(tmp_path)
    dump(file, [{"url": "x/11_ab_c.jpg", "crop": [6, 4, 50]}])
    with pytest.raises(DamagedDataError, match=r"expected a crop \[x, y, width, height\]"):
        read_fcdb(tmp_path)
    dump(file, [{"url": "x/11_ab_c.jpg"}])
    with pytest.raises(DamagedDataError, match="entry 1: expected the keys url, crop; no crop"):
        read_fcdb(tmp_path)
    text(file, "[{")
    with pytest.raises(DamagedDataError, match="expected JSON"):
        read_fcdb(tmp_path)
    dump(file, [{"url": "x/99.jpg", "crop": [6, 4, 50, 40]}])
    with pytest.raises(UsageError, match=r"none of the 1 listed pictures .*99\.jpg"):
        read_fcdb(tmp_path)
    dump(tmp_path / "ranking_annotation.json", [{"url": "11_ab_c.jpg", "crops": [{"crop_0": [1, 1, 5, 5]}]}])
    with pytest.raises(DamagedDataError, match="pair 1: expected crop_0, crop_1, vote_for_0"):
        read_fcdb_pairs(tmp_path)


REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "fcdb"


@pytest.mark.skipif(not REAL.is_dir(), reason="FCDB's own files are not beside this checkout (../shared/data/fcdb)")
def test_the_real_fcdb_files(tmp_path: Path) -> None:
    """With a blank picture for each entry, as large as its boxes ask."""
    crops = json.loads((REAL / "cropping_testing_set.json").read_text())
    ranking = json.loads((REAL / "ranking_annotation.json").read_text())[:40]
    for name, entries in (("cropping_testing_set", crops), ("ranking_annotation", ranking)):
        dump(tmp_path / f"{name}.json", entries)
    sizes = {entry["url"].rsplit("/")[-1]: (0, 0) for entry in [*crops[:20], *ranking]}
    for entry in [*crops, *ranking]:
        boxes = [entry["crop"]] if "crop" in entry else [p[c] for p in entry["crops"] for c in ("crop_0", "crop_1")]
        if (name := entry["url"].rsplit("/")[-1]) in sizes:
            for x, y, width, height in boxes:
                sizes[name] = (max(sizes[name][0], x + width), max(sizes[name][1], y + height))
    for name, size in sizes.items():
        picture(tmp_path / "data" / name, size)
    here = sum(entry["url"].rsplit("/")[-1] in sizes for entry in crops)
    found = read_fcdb(tmp_path, "test")
    assert "345 pictures listed (the official list)" in found.notes[0]
    assert len(found.images) == here >= 20 and len(found.missing) == 345 - here
    pairs = read_fcdb_pairs(tmp_path)
    assert len(pairs.images) == 40 and all(len(image.pairs) == 10 for image in pairs.images)
    assert {pair.votes_first + pair.votes_second for image in pairs.images for pair in image.pairs} == {5}


def test_flms_turns_rows_first_and_leaves_absent_rows_out(tmp_path: Path) -> None:
    found = read_flms(flms(tmp_path), "test")
    wide, tall = found.images
    assert wide.boxes == ((5, 3, 90, 55), (0, 0, 96, 60)) and tall.boxes == ((3, 5, 55, 90),)
    assert found.skipped["absent annotations (a negative coordinate)"] == 1
    assert found.notes == ["2 pictures listed, the published set has 500"]
    with pytest.raises(UsageError, match="for testing only"):
        read_flms(tmp_path, "train")


def test_flms_bad_files(tmp_path: Path) -> None:
    from scipy.io import savemat

    flms(tmp_path)
    file = tmp_path / "500_image_dataset.mat"
    text(file, "not MATLAB")
    with pytest.raises(DamagedDataError, match="expected a MATLAB file"):
        read_flms(tmp_path)
    savemat(file, {"other": np.zeros(3)})
    with pytest.raises(DamagedDataError, match="expected the variable img_gt"):
        read_flms(tmp_path)
    write_flms(tmp_path, [("w.jpg", np.array([[5, 3, 90, 55]], float))])
    with pytest.raises(DamagedDataError, match=r"picture 1 \(w\.jpg\), row 1.*columns are swapped"):
        read_flms(tmp_path)
    write_flms(tmp_path, [("w.jpg", np.zeros((2, 3)))])
    with pytest.raises(DamagedDataError, match=r"expected rows \(y1, x1, y2, x2\), found a matrix of \[2, 3\]"):
        read_flms(tmp_path)


def test_cpc_scores_are_means_over_people(tmp_path: Path) -> None:
    found = read_cpc(cpc(tmp_path))
    (image,) = found.images
    assert len(image.boxes) == 24 and image.scores[:3] == (0.5, 1.0, 1.5) and image.split == "train"
    assert dataset_format("cpc").to_ten(image.scores)[:3] == (0.0, 5.0, 10.0)
    about = {"scores": [1, 2], "bboxes": [[0, 0, 50, 50], [10, 10, 90, 50]]}
    (tmp_path / "CollectedAnnotationsRaw" / "v.jpg.txt").unlink()
    (tmp_path / "CollectedAnnotationsRaw").rmdir()
    dump(tmp_path / "image_crop.json", {"v.jpg": about})
    found = read_cpc(tmp_path)
    assert found.images[0].scores == (1.0, 2.0) and "another number of crops than 24" in found.notes[-1]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"scores": [[1, 2, 3]], "bboxes": [[0, 0, 5, 5]]}, r"scores of shape \[1, 3\] for 1 boxes"),
        ({"scores": [[1], [1, 2]], "bboxes": [[0, 0, 5, 5]]}, "differ in length"),
        ({"bboxes": [[0, 0, 5, 5]]}, "expected {"),
        ({"scores": [[1]], "bboxes": [[0, 0, 55, 90]]}, "box 1.*columns are swapped"),
    ],
)
def test_cpc_bad_files(about: object, words: str, tmp_path: Path) -> None:
    cpc(tmp_path)
    dump(tmp_path / "CollectedAnnotationsRaw" / "v.jpg.txt", about)
    with pytest.raises(DamagedDataError, match=words):
        read_cpc(tmp_path)


def test_sacd_has_the_best_crop_first_and_the_subject(tmp_path: Path) -> None:
    found = read_sacd(sacd(tmp_path), "test")
    assert len(found.images) == 2
    image = found.images[0]
    assert image.boxes == ((4, 5, 90, 58), (10, 5, 80, 50)) and image.subject_box == (20, 10, 50, 50)
    assert image.mask == tmp_path / "masks" / "s_0.jpg" and image.path == tmp_path / "images" / "s.jpg"


def test_sacd_bad_files(tmp_path: Path) -> None:
    sacd(tmp_path)
    file = tmp_path / "annotations" / "s_0.json"
    for about, words in (
        ({"crop_box": []}, "expected {"),
        ({"best_box": [[4, 5, 58, 90]]}, "box 1.*columns are swapped"),
        ({"best_box": [[4, 5, 90, 58]], "mask_box": "20"}, r"expected \[x, y, width, height\]"),
    ):
        dump(file, about)
        with pytest.raises(DamagedDataError, match=words):
            read_sacd(tmp_path)
    file.unlink()
    with pytest.raises(DamagedDataError, match=r"test\.json: lists 'annotations/s_0\.json', but .* does not exist"):
        read_sacd(tmp_path)


def test_a_list_of_names_selects_pictures(tmp_path: Path) -> None:
    found = only(read_gaicd(gaicd(tmp_path)), ["a", "c.jpg", "zz"])
    assert sorted(image.name for image in found.images) == ["a.jpg", "c.jpg"]
    assert re.search("2 pictures of the 3 names given, 4 in the set", found.notes[-1])


def test_gaicd_version_2_has_opinions_below_one(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "test" / "a.jpg", WIDE, 1)
    text(tmp_path / "annotations" / "test" / "a.txt", "1 2 50 90 0.86\n0 0 50 90 4\n")
    (image,) = read_gaicd(tmp_path).images
    assert image.scores == (0.86, 4.0)
    assert dataset_format("gaicd").to_ten(image.scores) == (0.0, 7.5)


def test_fcdb_counts_what_flickr_replaced_as_missing(tmp_path: Path) -> None:
    """Where a photograph is gone, Flickr sends a PNG that says so, under the photograph's own address."""
    whole = read_fcdb(fcdb(tmp_path))
    gone = next(image.path for image in whole.images)
    Image.new("RGB", (50, 37)).save(gone, "PNG")
    found = read_fcdb(tmp_path)
    assert len(found.images) == len(whole.images) - 1 and len(found.missing) == len(whole.missing) + 1
