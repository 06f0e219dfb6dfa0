"""``crop`` as people use it: folders, resuming, sidecars, tables, and files that are no pictures."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import get_sampling
from typer.testing import CliRunner

from pipeline.app.crop_files.crop_photos import CropRequest, crop_photos
from pipeline.app.crop_files.inputs import find_encoder, find_photos, read_regions, regions_by_file
from pipeline.app.crop_files.outputs import to_stored, xmp_of
from pipeline.app.crop_files.resume import CropLedger
from pipeline.cli.app import app
from pipeline.core.errors import UsageError
from pipeline.core.processor import has_bf16
from pipeline.core.resources import bundled
from procrop_model.crop import Crop
from procrop_model.inference.crop_options import aspects_of
from procrop_model.inference.image_input import Original

PHOTO = bundled("assets") / "photos" / "coffee.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs of one name in two folders, and a file that is none."""
    home = tmp_path / "photos"
    for name in ("a", "b"):
        (home / name).mkdir(parents=True)
        with Image.open(PHOTO) as opened:
            opened.rotate(0 if name == "a" else 180).save(home / name / "cup.jpg")
    (home / "b" / "torn.jpg").write_bytes(PHOTO.read_bytes()[:2000])
    return home


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["crop", *words])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.stdout


def test_a_folder_is_cropped_told_and_resumed(folder: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "crops.csv"
    words = [str(folder), "--out", str(out), "--top", "1", "--xmp", "--csv", str(table), "--json"]
    told = json.loads(run(*words, code=3))
    assert [bool(entry["crops"]) for entry in told] == [True, True, False]
    assert "error" in told[2]
    assert {"whole_score", "references", "explanation", "fulfilled"} <= set(told[0]["crops"][0])
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert [re.sub(r"_\d+x\d+", "", name) for name in made] == [
        "a/cup.xmp", "a/cup_crop1.jpg", "b/cup.xmp", "b/cup_crop1.jpg", "crops.jsonl",
    ]  # fmt: skip
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    assert [int(rows[0][side]) for side in ("x1", "y1", "x2", "y2")] == told[0]["crops"][0]["box_px"]

    stamps = {name: (out / name).stat().st_mtime_ns for name in made}
    assert json.loads(run(*words, code=3)) == told
    (crop_a,) = (name for name in made if name.startswith("a/cup_crop"))
    (out / crop_a).unlink()
    run(*words, code=3)
    changed = [name for name in made if (out / name).stat().st_mtime_ns != stamps[name]]
    assert changed == ["a/cup.xmp", crop_a, "crops.jsonl"]


def test_a_slow_precision_is_one_warning_line(tmp_path: Path) -> None:
    words = [str(PHOTO), "--no-save", "--top", "1", "--work", str(tmp_path)]
    program = [sys.executable, "-c", "from pipeline.cli import main; main()", "crop", *words]
    for chosen in ("auto", "bf16"):
        done = subprocess.run([*program, "--precision", chosen], capture_output=True, text=True, check=True)
        lines = [line for line in done.stderr.splitlines() if "precision" in line]
        assert len(lines) == (chosen == "bf16" and not has_bf16()), done.stderr


def test_a_ledger_forgets_what_changed(tmp_path: Path) -> None:
    photo, made = tmp_path / "p.jpg", tmp_path / "c.jpg"
    photo.write_bytes(b"1")
    made.write_bytes(b"2")
    CropLedger(tmp_path, "asked").add(photo, {"n": 1}, [str(made)])
    assert CropLedger(tmp_path, "asked").find(photo) == {"n": 1}
    assert CropLedger(tmp_path, "otherwise").find(photo) is None
    path = tmp_path / "crops.jsonl"
    path.write_bytes(path.read_bytes() + b'{"file": "cut')  # a killed run
    ledger = CropLedger(tmp_path, "asked")
    assert ledger.find(photo) == {"n": 1}
    ledger.add(photo, {"n": 2}, [str(made)])
    assert CropLedger(tmp_path, "asked").find(photo) == {"n": 2}
    photo.write_bytes(b"12")
    assert CropLedger(tmp_path, "asked").find(photo) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_sidecar_counts_from_the_stored_picture(orientation: int) -> None:
    """What the sidecar's box cuts from the stored pixels, turned upright, is what the crop's box cuts from the upright ones."""
    stored = Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.info["exif"] = exif.tobytes()
    stored._exif = exif  # type: ignore[attr-defined]
    upright = ImageOps.exif_transpose(stored)
    width, height = upright.size
    box_px = (width // 10, height // 4, width // 2, height - 2)
    box = (box_px[0] / width, box_px[1] / height, box_px[2] / width, box_px[3] / height)
    told = {name: float(v) for name, v in re.findall(r'crs:Crop(\w+)="([\d.]+)"', xmp_of(box, orientation))}
    assert (told["Left"], told["Top"]) == pytest.approx(to_stored(box, orientation)[:2], abs=1e-6)
    sides = (told["Left"] * 60, told["Top"] * 40, told["Right"] * 60, told["Bottom"] * 40)
    cut = stored.crop(tuple(round(v) for v in sides))
    cut._exif = exif  # type: ignore[attr-defined]
    cut.info["exif"] = exif.tobytes()
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(cut)), np.asarray(upright.crop(box_px)))


def test_regions_by_file_and_bad_wishes(tmp_path: Path) -> None:
    table = tmp_path / "faces.csv"
    table.write_text("file,x1,y1,x2,y2\nphotos/coffee.jpg,0,0,40,40\n")
    assert read_regions(str(table)) == {"photos/coffee.jpg": [(0.0, 0.0, 40.0, 40.0)]}
    words = [str(PHOTO), "--no-save", "--json", "--keep-file", str(table), "--keep", "500,300,599,399"]
    (told,) = json.loads(run(*words))
    assert told["crops"][0]["box_px"][:2] == [0, 0]
    assert told["crops"][0]["box_px"][2] >= 599
    table.write_text("name\nx\n")
    with pytest.raises(UsageError, match="file,x1,y1,x2,y2"):
        read_regions(str(table))
    for option, value in (("--keep-subject", "much"), ("--min-size", "big"), ("--keep", "1,2"), ("--aspect", "wide")):
        done = CliRunner().invoke(app, ["crop", str(PHOTO), "--no-save", option, value])
        assert isinstance(done.exception, UsageError), done.output
    with pytest.raises(UsageError, match="no photographs"):
        find_photos([str(tmp_path / "none*")])


@pytest.mark.parametrize("name", ["coffee", "seeding"])
def test_a_fixed_aspect_does_not_cut_the_subject(name: str) -> None:
    """The cup and the dandelion, which an earlier cropper cut at 4:5; the subject is looked for by default there."""
    words = [
        str(PHOTO.with_name(f"{name}.jpg")),
        "--no-save",
        "--json",
        "--top",
        "1",
        "--aspect",
        "4:5",
        "--precision",
        "fp32",
    ]
    (plain,), (kept,) = json.loads(run(*words, "--keep-subject", "off")), json.loads(run(*words))
    x1, _, x2, _ = kept["crops"][0]["box_px"]
    cup_or_head = {"coffee": (172, 405), "seeding": (140, 470)}[name]
    assert x1 <= cup_or_head[0]
    assert x2 >= cup_or_head[1]
    assert plain["crops"][0]["subject_kept"] is None


def test_an_encoder_is_built_of_what_the_references_record(tmp_path: Path) -> None:
    bundled_one = bundled("assets") / "models" / "cropper"
    assert find_encoder(bundled_one, "") is None
    with pytest.raises(UsageError, match="drop it"):
        find_encoder(bundled_one, "some/where")
    (tmp_path / "references").mkdir()
    settings = {"kind": "dinov2", "model": "away", "grid": 4}
    (tmp_path / "references" / "index.json").write_text(json.dumps({"encoder_settings": settings}))
    encoder = find_encoder(tmp_path, "here/it/is")
    assert encoder.name == "dinov2"
    assert encoder._settings.model == "here/it/is"
    assert encoder._settings.grid == 4


@pytest.mark.long
def test_nothing_is_overwritten_unless_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [str(folder / "a"), str(folder / "b" / "cup.jpg"), "--out", str(out), "--size", "100x100", "--top", "1"]
    run(*words)
    made = {p.name: p.read_bytes() for p in out.glob("*.jpg")}
    assert len(made) == 2 and len(set(made.values())) == 2
    assert run(*words) == f"nothing to do: all 2 were cropped before into {out}; --again crops them again\n"
    assert "--overwrite replaces it" in CliRunner().invoke(app, ["crop", *words, "--quality", "30"]).output
    assert {p.name: p.read_bytes() for p in out.glob("*.jpg")} == made
    run(*words, "--quality", "30", "--overwrite")
    assert {p.name: p.read_bytes() for p in out.glob("*.jpg")} != made
    run(*words, "--quality", "40", "--again")
    (out / "crops.jsonl").unlink()
    run(*words, code=3)  # whose files these are is no longer known
    assert not list(out.glob(".*"))
    assert "cup" in run(*words, "--name", "{name}_{aspect}_{n}") and len(list(out.glob("cup-*_1x1_1.jpg"))) == 2


def test_crops_are_told_without_a_bar_and_written_as_they_come(folder: Path, tmp_path: Path, monkeypatch) -> None:
    shown = []
    request = CropRequest([str(folder)], out=str(tmp_path / "out"), top=1, batch=1, faces="off")
    report = crop_photos(
        request, lambda done, total: shown.append((done, total, len(list((tmp_path / "out").rglob("*.jpg")))))
    )
    assert shown == [(0, 3, 0), (1, 3, 1), (2, 3, 2), (3, 3, 2)]
    assert report.fresh == report.entries
    again = crop_photos(request)
    assert [entry["file"] for entry in again.fresh] == [str(folder / "b" / "torn.jpg")]
    monkeypatch.setenv("COLUMNS", "200")
    printed = run(
        str(folder), "--out", str(tmp_path / "out"), "--top", "1", "--faces", "off", "--batch", "1", "-q", code=3
    )
    assert "2 of 3 were cropped before" in printed and "cup" not in printed


def test_photographs_in_the_folder_of_crops_are_told(folder: Path) -> None:
    assert "lie in --out" in str(CliRunner().invoke(app, ["crop", str(folder), "--out", str(folder)]).exception)


def test_boxes_belong_to_the_photo_that_the_csv_names(tmp_path: Path, caplog) -> None:
    files = [tmp_path / "d1" / "x.jpg", tmp_path / "d2" / "x.jpg", tmp_path / "coffee.jpg"]
    box = (1.0, 2.0, 3.0, 4.0)
    found = regions_by_file({"d1/x.jpg": [box], "COFFEE.JPG": [box], "coffee.jpg": [box, box]}, files)
    assert found == {files[0]: [box], files[2]: [box, box]}
    assert "no photograph is named 'COFFEE.JPG'" in caplog.text
    assert regions_by_file({"x.jpg": [box]}, files) == {files[0]: [box], files[1]: [box]}  # as the name alone says
    for bad in ("file,x1,y1,x2,y2\na.jpg,1,2,nan,4\n", "file\na.jpg\n", 'file,x1,y1,x2,y2\n"a.jpg'):
        (tmp_path / "bad.csv").write_text(bad)
        with pytest.raises(UsageError, match="--keep-file"):
            read_regions(str(tmp_path / "bad.csv"))


def test_crops_and_unread_pictures_of_a_folder_are_left_out(tmp_path: Path, caplog) -> None:
    for name in ("a.jpg", "b.JFIF", "c.jpe", "d.NEF", "e.cr2", "out/a_crop1.jpg", "._a.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_photos([str(tmp_path)], tmp_path / "out")
    assert [file.name for file in found] == ["a.jpg", "b.JFIF", "c.jpe"]
    assert "2 pictures are not read: d.NEF, e.cr2 (.nef files are not read: develop" in caplog.text


def test_a_size_and_another_aspect_are_refused() -> None:
    for words in (["--aspect", "4:5"], ["--aspect", "1:1,free"]):
        assert "a size fixes the aspect" in str(refusal("--size", "1080x1080", *words))
    assert [aspect.ratio for aspect in aspects_of("4:5", "1080x1350")] == [0.8]
    with pytest.raises(UsageError, match="a size fixes the aspect"):
        aspects_of("portrait", (1080, 1080))


def refusal(*words: str) -> BaseException | None:
    return CliRunner().invoke(app, ["crop", str(PHOTO), "--no-save", *words]).exception


def test_squares_are_square_with_any_other_aspect_in_the_list() -> None:
    names = [str(PHOTO.with_name(f"{name}.jpg")) for name in ("chelsea", "fog", "butterfly-wimer")]
    together = json.loads(run(*names, "--no-save", "--json", "--aspect", "square,16x9,free"))
    alone = json.loads(run(*names, "--no-save", "--json", "--aspect", "1:1", "--top", "1"))
    for several, single in zip(together, alone, strict=True):
        (x1, y1, x2, y2), (a1, b1, a2, b2), _ = (crop["box_px"] for crop in several["crops"])
        assert x2 - x1 == y2 - y1 and abs((a2 - a1) - (b2 - b1) * 16 / 9) <= 0.5
        assert single["crops"][0]["box_px"] == [x1, y1, x2, y2]
        assert [crop["aspect_name"] for crop in several["crops"]] == ["square", "16x9", "free"]


def test_small_photos_are_enlarged_only_when_asked(tmp_path: Path) -> None:
    words = [str(PHOTO), "--out", str(tmp_path), "--json", "--size", "700x500", "--keep-subject", "off"]
    (told,) = json.loads(run(*words, code=3))
    assert "--upscale enlarges it" in told["error"] and not list(tmp_path.glob("*.jpg"))
    (told,) = json.loads(run(*words, "--upscale", "--top", "1"))
    assert "error" not in told and len(list(tmp_path.glob("*_700x500.jpg"))) == 1
    (told,) = json.loads(run(*[*words[:5], "580x390"], "--keep-subject", "off", "--top", "1"))
    x1, y1, x2, y2 = told["crops"][0]["box_px"]
    assert x2 - x1 >= 580 and y2 - y1 >= 390


def test_crops_have_the_format_of_their_photo_or_the_one_named(tmp_path: Path) -> None:
    with Image.open(PHOTO) as opened:
        small = opened.resize((120, 80))
    for suffix in ("png", "webp", "tif", "gif"):
        small.save(tmp_path / f"{suffix}.{suffix}")
    words = [str(tmp_path / "*.*"), "--top", "1", "--faces", "off"]
    run(*words, "--out", str(tmp_path / "own"))
    assert sorted(p.suffix for p in (tmp_path / "own").glob("*_crop*")) == [".png", ".png", ".tif", ".webp"]
    run(*words, "--out", str(tmp_path / "named"), "--format", "JPEG", "--quality", "50")
    assert {p.suffix for p in (tmp_path / "named").glob("*_crop*")} == {".jpg"}
    assert "write jpg, png, webp or tif" in str(refusal("--format", "bmp"))


def test_fewer_crops_than_wanted_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(PHOTO), "--no-save", "--json", "--keep-subject", "off", "--top", "3"]
    reasons = {
        "the photo stays whole": ["--no-crop-if-better-below", "0.9"],
        "the others overlap with an IoU of 0.75 or more": ["--min-size", "0.95"],
    }
    for reason, wish in reasons.items():
        (told,) = json.loads(run(*words, *wish))
        assert len(told["crops"]) < 3 and told["crops"][-1]["fewer"] == reason
    monkeypatch.setenv("COLUMNS", "200")
    assert "no more: the photo stays whole" in run(*words[:2], *words[3:], "--no-crop-if-better-below", "0.9")


@pytest.mark.parametrize(("kind", "sampling", "wanted"), [("PNG", None, 0), ("JPEG", 0, 0), ("JPEG", 2, 2)])
def test_a_crop_keeps_the_colour_of_thin_lines(tmp_path: Path, kind, sampling, wanted) -> None:
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::2] = (255, 0, 0)
    lines[:, 1::2] = (0, 0, 255)
    source = tmp_path / f"lines.{kind.lower()}"
    Image.fromarray(lines).save(source, **({} if sampling is None else {"subsampling": sampling, "quality": 95}))
    original = Original(source)
    Crop((0, 0, 32, 32), 0.0, [], 1.0, None, original).save(tmp_path / "crop.jpg")
    with Image.open(tmp_path / "crop.jpg") as crop:
        assert get_sampling(crop) == wanted
        if wanted == 0:
            assert np.abs(np.asarray(crop, int) - np.asarray(original.full().crop((0, 0, 32, 32)), int)).mean() < 12
