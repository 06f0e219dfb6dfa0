"""``eval`` and ``convert`` from the command line, with the bundled cropper, on miniature sets and a tiny run."""

import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipeline.app.cropper.evaluation_report import flatten, merit, worst_sheet
from pipeline.app.cropper.train_overlap import content_keys, overlap_warnings, trained_on
from pipeline.app.public_sets.to_shards import jpeg_of, sample_of
from pipeline.app.takedown_leftovers import leftovers
from pipeline.checks.lint.linter import Linter, find_shards
from pipeline.cli.app import main
from pipeline.core.errors import ModelError
from pipeline.core.geometry import to_norm
from procrop_model.datasets.cad import read_cad
from procrop_model.datasets.labelled import LabelledImage
from procrop_model.datasets.registry import DATASETS
from procrop_model.evaluation.metrics import best_constant_box
from procrop_model.model_folder.trained_on import save_photos
from procrop_model.training.samples import read_split
from tests.chain import make_photos, recipe_for, run_chain, session_for
from tests.miniature_sets import MAKERS, TALL, WIDE, dump, gaicd, picture, text

CONVERTIBLE = sorted(name for name in DATASETS if name != "fcdb-pairs")


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command and gives (exit code, what it printed, what it said on standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A run of stand-in models, built."""
    folder = tmp_path_factory.mktemp("evaluated")
    run_chain(session_for(recipe_for(make_photos(folder / "photos", 10)), folder / "work"), until="build")
    return folder / "work"


def test_a_public_set_is_measured_and_leaves_its_files(command, tmp_path: Path) -> None:
    gaicd(tmp_path / "set")
    out = tmp_path / "out"
    code, told, said = command("eval", "--dataset", "gaicd", "--root", tmp_path / "set", "--out", out, "--json")
    assert (code, said) == (0, "")
    result = json.loads(told)
    assert result["n"] == 2 and result["split"] == "test" and "images" not in result
    assert list(result["rows"]) == ["model", "identity", "centre_0.9", "saliency_box", "smartcrop"]
    assert all(len(figure) == 3 for row in result["rows"].values() for figure in row.values())
    assert result["cost"]["model"]["parameters"] > 1e6 and result["cost"]["model"]["ms"] > 0
    table = pq.ParquetFile(out / "gaicd-gaic.parquet").read(use_threads=False)
    assert table.num_rows == 2 and "model.srcc" in table.column_names
    with Image.open(out / "gaicd-gaic-worst.png") as sheet:
        assert sheet.size[0] > sheet.size[1] > 200
    code, told, _ = command(
        "eval", "--dataset", "gaicd", "--root", tmp_path / "set", "--out", out, "--protocol", "eps_acc"
    )
    assert code == 0 and "eps_acc5_90" in told and "million parameters" in told


def test_a_list_of_names_makes_the_subset(command, tmp_path: Path) -> None:
    MAKERS["flms"](tmp_path / "set")
    (tmp_path / "names.json").write_text(json.dumps({"w.jpg": [1, 2, 3, 4], "absent.jpg": []}))
    words = (
        "eval",
        "--dataset",
        "flms",
        "--root",
        tmp_path / "set",
        "--protocol",
        "gencrop",
        "--out",
        tmp_path,
        "--json",
    )
    code, told, said = command(*words, "--names", tmp_path / "names.json")
    result = json.loads(told)
    assert (code, said, result["n"]) == (0, "", 1) and set(result["rows"]["model"]) == {"iou", "bde", "recall"}
    assert "1 pictures of the 2 names given, 2 in the set" in result["remarks"]
    code, told, said = command(*words)
    assert (
        code == 0 and json.loads(told)["n"] == 2 and "warning: gencrop's figures on flms are for its human-only" in said
    )


def read(told: str) -> dict:
    return json.loads(told)


def fcdb_set(root: Path, count: int = 6) -> Path:
    """Photographs of several sizes with one crop and one pair each."""
    entries = []
    for number in range(count):
        picture(root / "data" / f"{number}.jpg", WIDE if number % 2 else TALL, number)
        box, other = [0, 0, 40 + number, 50], [5, 5, 40 + number, 50]
        pair = {"crop_0": box, "crop_1": other, "vote_for_0": 5 * (number % 2), "vote_for_1": 5 - 5 * (number % 2)}
        entries.append({"url": f"x/{number}.jpg", "crop": box, "crops": [pair]})
    dump(root / "cropping_training_set.json", entries)
    dump(root / "ranking_annotation.json", entries)
    return root


def test_own_boxes_are_written_and_measured_again(command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (
        "eval",
        "--dataset",
        "fcdb",
        "--root",
        fcdb_set(tmp_path / "set"),
        "--split",
        "train",
        "--out",
        out,
        "--quick",
    )
    text(tmp_path / "groups.csv", "file,group\n0,people\n1,people\n2,nobody\n")
    code, told, said = command(*words, "--json")
    own = read(told)
    assert (code, said, own["measured"]) == (0, "", "cropper") and list(own["rows"]) == [
        "model",
        "identity",
        "centre_0.9",
    ]
    for part in ("sizes", "calibration"):
        with Image.open(out / f"fcdb-cacnet-{part}.png") as drawn:
            assert min(drawn.size) > 400
    assert sum(one["n"] for one in own["calibration"]["bins"]) == own["n"]
    code, _, said = command(*words, "--refit-calibration")
    assert code == 2 and "name it with --model" in said
    boxes = out / "fcdb-cacnet-boxes.csv"
    assert boxes.read_text().startswith("file,x1,y1,x2,y2\n0.jpg,") and len(boxes.read_text().splitlines()) == 7
    code, told, _ = command(*words, "--boxes", boxes, "--groups", tmp_path / "groups.csv", "--json")
    again = read(told)
    assert code == 0 and again["measured"] == "boxes of fcdb-cacnet-boxes.csv" and "calibration" not in again
    assert again["rows"]["model"]["iou"] == pytest.approx(own["rows"]["model"]["iou"], abs=1e-3)
    assert {name: group["n"] for name, group in again["groups"].items()} == {"nobody": 1, "people": 2}
    assert (out / "fcdb-cacnet-fcdb-cacnet-boxes.json").is_file()
    code, told, _ = command(*words, "--boxes", boxes, "--groups", tmp_path / "groups.csv")
    for part in (
        "correlation with the person's box",
        "0 to 0.5 (n ",
        "people: 2 pictures",
        "share of the picture kept",
    ):
        assert part in told


def test_the_checked_half_has_the_best_box_of_the_other(command, tmp_path: Path) -> None:
    words = (
        "eval",
        "--dataset",
        "fcdb",
        "--root",
        fcdb_set(tmp_path / "set", 12),
        "--split",
        "train",
        "--out",
        tmp_path,
        "--quick",
    )
    shares = {}
    for half in ("choose", "check"):
        code, told, _ = command(*words, "--half", half, "--json")
        shares[half] = read(told)
        assert code == 0 and (tmp_path / f"fcdb-cacnet-{half}.json").is_file()
    assert shares["choose"]["n"] + shares["check"]["n"] == 12
    assert "constant_choose" not in shares["choose"]["rows"] and "constant_choose" in shares["check"]["rows"]
    rows = json.loads((tmp_path / "fcdb-cacnet-choose.json").read_text())["images"]
    wanted = [to_norm(row["annotations"][0], row["width"], row["height"]) for row in rows]
    assert shares["check"]["floors"]["constant_choose"] == pytest.approx(best_constant_box(wanted), abs=1e-4)


def test_a_scorer_ranks_given_boxes(command, tmp_path: Path) -> None:
    root = fcdb_set(tmp_path / "set")
    words = ("eval", "--root", root, "--out", tmp_path, "--quick", "--scorer", "composition")
    code, told, said = command(*words, "--dataset", "fcdb-pairs", "--json")
    result = read(told)
    assert (code, said, result["measured"], result["n"]) == (0, "", "scorer composition", 6)
    assert 0 <= result["rows"]["model"]["equal_area_unanimous"][0] <= 1 and result["pairs"]["equal_area_unanimous"] == 6
    code, told, _ = command(*words, "--dataset", "fcdb-pairs", "--long-side", 48)
    assert code == 0 and "pairs: agreement 6, equal_area 6, equal_area_unanimous 6" in told
    assert (tmp_path / "fcdb-pairs-fcdb_pairs-composition-48px.json").is_file()
    code, _, said = command(*words, "--dataset", "fcdb", "--split", "train")
    assert code == 2 and "a scorer has no crops of its own" in said


def test_halves_are_measured_apart(command, tmp_path: Path) -> None:
    words = ("eval", "--dataset", "flms", "--root", MAKERS["flms"](tmp_path / "set"), "--out", tmp_path, "--json")
    code, told, _ = command(*words, "--half", "choose")  # w.jpg; t.jpg is in the other half
    assert code == 0 and json.loads(told)["n"] == 1
    assert "the half 'choose' by hash of the file name: 1 of 2 pictures" in json.loads(told)["remarks"]
    code, _, said = command(*words, "--half", "third")
    assert code == 2 and "--half 'third': want choose" in said


@pytest.mark.long
def test_a_run_is_measured_once(command, work: Path) -> None:
    code, told, _ = command("eval", "--work", work, "--json", "--device", "cpu")
    result = json.loads(told)
    assert code == 0 and set(result["rows"]) >= {
        "model",
        "constant",
        "saliency_box",
        "smartcrop",
        "identity",
        "centre_0.9",
    }
    assert set(result["differences"]["constant"]) == {"iou", "bde", "recall"} and result["warnings"] == []
    assert set(result["correlations"]["model"]) == {"area", "centre_x", "centre_y", "left", "top", "right", "bottom"}
    assert set(result["areas"]) == {"person", *result["rows"]} and result["correlations"]["constant"]["area"] is None
    home = work / "models" / "cropper"
    assert {"evaluation-test.json", "evaluation-test.parquet", "evaluation-test-worst.png"} <= {
        p.name for p in home.iterdir()
    }
    assert 0 <= result["saliency_margin"] <= 0.3
    nothing = pa.table({"key": pa.array([], pa.string()), "uri": pa.array([], pa.string())})
    (line,) = [line for line in leftovers(work, nothing, removed=0) if "worst" in line]
    assert line.startswith("models/cropper/evaluation-test-worst.png may show photographs that are gone")
    before = (home / "evaluation-test.json").stat().st_mtime_ns
    assert command("eval", "--work", work, "--json")[1] == told
    assert (home / "evaluation-test.json").stat().st_mtime_ns == before


def test_refusals_of_eval(command, tmp_path: Path) -> None:
    for words, reason in (
        (("eval", "--dataset", "gaicd"), "--dataset and --root go together"),
        (("eval", "--dataset", "ava", "--root", tmp_path), "no dataset format 'ava'"),
        (("eval", "--dataset", "flms", "--root", tmp_path / "absent"), "no such folder"),
        (("eval", "--protocol", "gaic"), "--protocol are for public sets"),
        (("eval", "--half", "check", "--quick"), "--half, --quick are for public sets"),
        (("eval", "--dataset", "gaicd", "--root", tmp_path, "--scorer", "x", "--boxes", "y"), "exclude one another"),
        (("eval", "--dataset", "gaicd", "--root", gaicd(tmp_path / "s"), "--names", "absent.txt"), "no such file"),
    ):
        code, told, said = command(*words)
        assert (code, told) == (2, "") and reason in said and said.count("\n") == 1
    pairs = ("eval", "--dataset", "fcdb-pairs", "--root", fcdb_set(tmp_path / "f"))
    for option, value in (("--scorer", "mine"), ("--boxes", "absent.csv")):
        code, told, said = command(*pairs, option, value)
        assert (code, told) == (2, "") and f"'{value}': no such f" in said.splitlines()[-1]


def test_photographs_that_the_cropper_knows_are_named(work: Path, tmp_path: Path) -> None:
    class Entry:
        photo = "r"

    class Cropper:
        class database:
            entries = (Entry(),)

    model = tmp_path / "model"
    model.mkdir()
    train = {sample.photo for sample in read_split(work / "dataset", "train").labels()}
    asked = {*train, "r", "0123456789abcdef01234567", "a name"}
    save_photos(model, [*train, "a name"])
    assert train and trained_on(model, asked) == {*train, "a name"}
    (tmp_path / "tuned").mkdir()
    save_photos(tmp_path / "tuned", ["r", "-12"], start=model)  # trained on from it
    assert trained_on(tmp_path / "tuned", {*asked, "-12"}) == {*train, "a name", "r", "-12"}
    save_photos(model, [])
    assert trained_on(model, asked) == set()
    within = work / "models" / "older" / "cropper"  # of before the folder told
    assert trained_on(within, asked) == train
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "trained_on.npy").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"trained_on\.npy is damaged"):
        trained_on(tmp_path / "damaged", asked)
    save_photos(model, train)
    known, reference = overlap_warnings(Cropper(), model, {"r", next(iter(train)), "other"})
    assert "was trained on 1 of the 3 photographs" in known and "references of the cropper: 1 of the 3" in reference
    assert overlap_warnings(Cropper(), model, {"other"}) == []
    path = picture(tmp_path / "p.jpg", WIDE)
    assert len(content_keys([path, path])[path]) == 24


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_a_set_becomes_shards_that_are_read_and_lint_clean(name: str, command, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / "set")
    out = tmp_path / "out"
    code, told, _ = command("convert", "--dataset", name, "--root", tmp_path / "set", "--out", out, "--json")
    assert code == 0, told
    splits = json.loads(told)["splits"]
    found = DATASETS[name].read(tmp_path / "set", "")
    assert splits == found.splits()
    linter = Linter()
    assert [line.line() for line in linter.run(find_shards([str(out / "shards")]))] == []
    sources = {content_keys([image.path])[image.path]: image for image in found.images}
    for split, count in splits.items():
        samples = read_split(out, split)
        assert len(samples) == count
        for sample in samples:
            image = sources[sample.photo]
            assert sample.image == image.path.read_bytes() and (sample.width, sample.height) == (
                image.width,
                image.height,
            )
            assert sample.scores[0] == max(sample.scores) or name == "cad"
            assert all(0 <= score <= 10 for score in sample.scores)
            assert [round(v) for v in sample.crops[0]] == list(sample.photo_box)
            assert sample.decode().image.shape == (image.height, image.width, 3)
    (config,) = yaml.safe_load((out / "README.md").read_text().split("---")[1])["configs"]
    listed = [sorted(out.glob(one["path"])) for one in config["data_files"]]
    assert sorted(path for paths in listed for path in paths) == sorted((out / "shards").glob("*.tar"))
    again = command("convert", "--dataset", name, "--root", tmp_path / "set", "--out", out)
    assert again[0] == 2 and "is not empty" in again[2]


def test_shards_of_a_set_go_to_text_and_back(command, work: Path, tmp_path: Path) -> None:
    code, told, _ = command("convert", "--from", work, "--to", "cad", "--out", tmp_path / "cad", "--json")
    assert code == 0
    found = read_cad(tmp_path / "cad")
    assert found.splits() == json.loads(told)["splits"]
    for split in found.splits():
        for sample, image in zip(
            read_split(work / "dataset", split), (i for i in found.images if i.split == split), strict=True
        ):
            assert image.path.read_bytes() == sample.image and len(image.boxes) == min(5, len(sample.crops))
            assert image.boxes[0] == pytest.approx(sample.crops[0]) and image.scores[0] == pytest.approx(
                sample.scores[0]
            )
    code, _, _ = command("convert", "--dataset", "cad", "--root", tmp_path / "cad", "--out", tmp_path / "back")
    assert code == 0
    back = {
        sample.photo: sample for split in found.splits() for sample in read_split(tmp_path / "back", split).labels()
    }
    for image in found.images:
        sample = back[content_keys([image.path])[image.path]]
        assert sample.crops[0] == pytest.approx(image.boxes[0])


def test_refusals_of_convert(command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words, reason in (
        (("--dataset", "fcdb-pairs", "--root", tmp_path), "no crops"),
        (("--from", tmp_path), "goes with --to cad"),
        (("--from", tmp_path, "--to", "cad"), "neither a run directory"),
        ((), "name what to convert"),
        (("--dataset", "cad", "--root", tmp_path, "--to", "coco"), "want shards or cad"),
        (("--dataset", "gaicd", "--root", gaicd(tmp_path / "s"), "--shards", 99), "fill"),
    ):
        code, _, said = command("convert", "--out", out, *words)
        assert code == 2 and reason in said


def test_what_is_no_jpeg_is_encoded_once(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    Image.new("RGB", (30, 20), (9, 99, 199)).save(tmp_path / "p.png")
    assert jpeg_of(tmp_path / "p.png", told)[:2] == b"\xff\xd8" and told["reencoded"] == 1
    path = picture(tmp_path / "p.jpg", WIDE)
    assert jpeg_of(path, told) == path.read_bytes() and told["reencoded"] == 1


def test_the_best_crop_becomes_a_box_of_pixels() -> None:
    image = LabelledImage("n.jpg", Path("n.jpg"), "test", 96, 60, ((0, 0, 9, 9), (0.2, 1.6, 95.7, 60)), (2.0, 4.0))
    sample = sample_of(DATASETS["gaicd"], image, "k", "p")
    assert (
        sample.photo_box == [0, 2, 96, 60] and sample.scores == [7.5, 2.5] and sample.crops[1] == [0.0, 0.0, 9.0, 9.0]
    )
    assert sample.origins == ["annotated"] * 2 and (sample.outpainter, sample.scorer) == ("", "human")


def test_the_sheet_shows_the_worst_first(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.jpg", WIDE)
    rows = [
        {"key": f"k{i}", "box_px": [1, 1, 50, 50], "photo_box": [5, 5, 40, 40], "model": {"iou": i / 20}}
        for i in range(15)
    ]
    shown: list[str] = []

    def show(key: str) -> bytes:
        shown.append(key)
        return path.read_bytes()

    assert worst_sheet(rows, {row["key"]: lambda key=row["key"]: show(key) for row in rows})[:4] == b"\x89PNG"
    assert shown == [f"k{i}" for i in range(12)]
    assert worst_sheet([{**rows[0], "box_px": []}], {}) == b""
    assert flatten({"key": "k", "model": {"iou": 1}}) == {"key": "k", "model.iou": 1.0}
    assert merit({"model": {"srcc": 0.5, "acc1_5": 1.0}}) == 0.5
