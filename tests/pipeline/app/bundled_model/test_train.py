"""The chain of train-bundled: with stand-ins for the models and the trainer, and once as a user runs it."""

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.app.bundled_model.train import BundledReport, BundledRequest, train_bundled
from pipeline.app.cropper.train import TrainReport, TrainRequest
from pipeline.app.progress import Display
from pipeline.app.recipe_for_run import recipe_for
from pipeline.app.run_stages import RunReport, RunRequest
from pipeline.cli.app import app
from pipeline.core.errors import InterruptedRunError, RefusedError, UsageError
from procrop_model import Cropper
from tests.chain import make_photos, run_chain, session_for

ROOT = Path(__file__).resolve().parents[4]
SMALL = ("work_shards=2", "outpaint.long_side=96", "outpaint.variants=2", "build.shards=3", "refine.beam=8")


class Steps:
    """Stand-ins of the two long steps: the stages with stand-in models, and a trainer that writes a small folder."""

    def __init__(self) -> None:
        self.stages_done: list[int] = []
        self.trainings: list[TrainRequest] = []
        self.interrupt = False

    def run(self, request: RunRequest, display: Display) -> RunReport:
        recipe = recipe_for(request.config, request.overrides)
        session = session_for(recipe, Path(request.work))
        results = run_chain(session)
        self.stages_done.append(sum(result.done_now for result in results))
        return RunReport(request.work, results, 0, [], "", [], [])

    def train(self, request: TrainRequest, *, quiet: bool = False) -> TrainReport:
        self.trainings.append(request)
        if self.interrupt:
            raise InterruptedRunError("stopped")
        folder = Path(request.work) / "models" / "cropper" / "cropper"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
        summary = {"val_iou": 0.5, "best_epoch": 1, "epochs": 2, "samples": 8, "seconds": 1.0}
        return TrainReport(summary, folder, len(self.trainings) > 1)  # type: ignore[arg-type]

    def slim(self, source: Path, out: Path, references: int) -> None:
        self.references = references
        shutil.copytree(source, out, dirs_exist_ok=True)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    stand_ins = Steps()
    monkeypatch.setattr("pipeline.app.run_stages.run_stages_of", stand_ins.run)
    monkeypatch.setattr("pipeline.app.cropper.train.train_cropper", stand_ins.train)
    monkeypatch.setattr("procrop_model.model_folder.slim.slim_model", stand_ins.slim)
    return stand_ins


def write_credits(folder: Path, header: str, *rows: str) -> None:
    (folder / "credits.csv").write_text("\n".join([header, *rows, ""]))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two folders with the same file names, other pictures, and other columns of credits."""
    make_photos(tmp_path / "one", 6, seed=1)
    write_credits(
        tmp_path / "one",
        "file,title,author,licence,licence_url,source,split",
        *(f"photo {number}.jpg,Title,Ann,CC0,,Debian,{split}" for number, split in enumerate(["train"] * 5 + ["val"])),
    )
    make_photos(tmp_path / "two", 3, seed=2)
    write_credits(
        tmp_path / "two", "file,author,licence,source,note", 'photo 0.jpg,"Bo, of Flickr",CC-BY-2.0,Flickr,cut'
    )
    shutil.copy(tmp_path / "one" / "photo 1.jpg", tmp_path / "two" / "copy.jpg")
    return tmp_path


def request_for(home: Path, **over: object) -> BundledRequest:
    values: dict[str, object] = {
        "photos": (str(home / "one"), str(home / "two")), "work": str(home / "work"), "out": str(home / "model"),
        "overrides": SMALL,
    }  # fmt: skip
    return BundledRequest(**{**values, **over})  # type: ignore[arg-type]


def make(request: BundledRequest) -> BundledReport:
    return train_bundled(request, Display(quiet=True), quiet=True)


def rows_of(table: Path) -> dict[str, Mapping[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_folders_become_a_model_with_its_photographs(home: Path, steps: Steps) -> None:
    report = make(request_for(home))
    assert report.photographs == 10 and report.replaced
    credits = rows_of(home / "work" / "photographs" / "credits.csv")
    assert len(credits) == 10 and credits["photo 5.jpg"]["split"] == "val"
    assert credits["2-photo 0.jpg"] == {
        "file": "2-photo 0.jpg", "title": "", "author": "Bo, of Flickr", "licence": "CC-BY-2.0", "licence_url": "",
        "source": "Flickr", "split": "",
    }  # fmt: skip
    listed = rows_of(home / "model" / "photographs.csv")
    assert report.listed == len(listed) == 9, "the copy is no photograph of its own"
    for name, folder in {"photo 0.jpg": "one", "2-photo 0.jpg": "two"}.items():
        assert listed[name]["sha256"] == hashlib.sha256((home / folder / "photo 0.jpg").read_bytes()).hexdigest()
    assert listed["2-photo 0.jpg"]["author"] == "Bo, of Flickr" and listed["2-photo 0.jpg"]["source"] == "Flickr"
    assert (home / "model" / "model.safetensors").read_bytes() == b"weights"
    (training,) = steps.trainings
    assert training.config == "bundled" and f"ingest.source={home}/work/photographs" in training.overrides


def test_the_same_command_again_does_nothing(home: Path, steps: Steps) -> None:
    make(request_for(home))
    before = (home / "model").stat().st_ino
    again = make(request_for(home))
    assert steps.stages_done[0] > 0 and steps.stages_done[1:] == [0]
    assert not again.replaced and (home / "model").stat().st_ino == before


def test_it_goes_on_where_it_stopped(home: Path, steps: Steps) -> None:
    steps.interrupt = True
    with pytest.raises(InterruptedRunError):
        make(request_for(home))
    assert not (home / "model").exists()
    steps.interrupt = False
    assert make(request_for(home)).replaced
    assert steps.stages_done[1:] == [0] and (home / "model" / "photographs.csv").is_file()


def test_a_photograph_that_is_taken_away_is_not_listed(home: Path, steps: Steps) -> None:
    make(request_for(home))
    (home / "two" / "photo 2.jpg").unlink()
    assert make(request_for(home)).listed == 8
    assert "2-photo 2.jpg" not in rows_of(home / "model" / "photographs.csv")


def test_a_folder_named_twice_is_read_once(home: Path, steps: Steps) -> None:
    spec = str(home / "one")
    assert make(request_for(home, photos=(spec, f"{spec}/../one/"))).photographs == 6


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"photos": ("gone",)}, "--photos 'gone': no such folder"),
        ({"work": "one/work"}, "is inside of --photos"),
        ({"out": "two/model"}, "is inside of --photos"),
        ({"out": "one"}, "is inside of --photos"),
        ({"out": "full"}, "holds no model"),
        ({"overrides": ("ingest.source=one",)}, "ingest.source of train-bundled is the joined folder"),
        ({"overrides": ("no_such=1",)}, "unknown key 'no_such'"),
        ({"work": "s3://bucket/run"}, "is remote"),
    ],
)
def test_a_wrong_request_writes_nothing(
    home: Path, steps: Steps, over: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "full").mkdir()
    (home / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=said):
        make(request_for(home, **over))
    assert not steps.trainings and not (home / "work").exists() and not (home / "one" / "work").exists()


def test_the_joined_folder_is_no_input_of_its_own(home: Path, steps: Steps) -> None:
    make(request_for(home))
    with pytest.raises(UsageError, match="is the joined folder of --work"):
        make(request_for(home, photos=(str(home / "work" / "photographs"),)))


def test_the_directory_of_another_run_is_left_alone(home: Path, steps: Steps) -> None:
    (home / "work").mkdir()
    (home / "work" / "thesis.txt").write_text("mine")
    with pytest.raises(RefusedError, match="not a run directory"):
        make(request_for(home))
    assert [path.name for path in (home / "work").iterdir()] == ["thesis.txt"]


def test_one_of_several_processes_is_refused(home: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="which one process starts"):
        make(request_for(home))


def test_the_command_prints_the_model(home: Path, steps: Steps) -> None:
    words = ["train-bundled", "--photos", str(home / "one"), "--work", str(home / "work"), "--out", str(home / "model")]
    told = CliRunner().invoke(app, [*words, "--json", *SMALL], catch_exceptions=False)
    assert told.exit_code == 0
    body = json.loads(told.stdout)
    assert (body["photographs"], body["listed"], body["replaced"]) == (6, 6, True)
    assert steps.references == 100
    again = CliRunner().invoke(app, [*words, *SMALL], catch_exceptions=False)
    assert again.stdout == (
        "cropper of epoch 2 of 2, IoU 0.500 on val, trained on 8 canvases in 1.0 s, from 6 photographs, already done: "
        f"{home / 'model'}\n"
    )


def test_failed_samples_end_with_their_exit_code(home: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunReport, "failed_samples", lambda self: {"outpaint": 2})
    words = ["train-bundled", "--photos", str(home / "one"), "--work", str(home / "work"), "--out", str(home / "model")]
    done = CliRunner().invoke(app, [*words, *SMALL], catch_exceptions=False)
    assert done.exit_code == 3 and "failed samples (outpaint 2)" in done.stderr
    assert (home / "model" / "config.json").is_file()


def test_the_recipe_is_the_documented_one() -> None:
    recipe = recipe_for("bundled", [])
    assert (recipe.outpaint.variants, recipe.outpaint.held_out_variants, recipe.outpaint.long_side) == (3, 2, 384)
    assert (recipe.refine.rounds, recipe.build.shards, recipe.work_shards) == (2, 24, 48)
    assert recipe.ingest.splits == {"train": 0.94, "val": 0.03, "test": 0.03}
    assert (recipe.train.epochs, recipe.train.batch, recipe.train.patience) == (18, 16, 0)


@pytest.mark.long
def test_real_photographs_become_a_cropper_that_crops(tmp_path: Path) -> None:
    photos = ROOT / "assets" / "photos"
    credits = rows_of(photos / "credits.csv")
    for folder, names in {"one": ("not-windows", "fog", "rocket", "sunset"), "two": ("butterfly", "drop")}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(photos / f"{name}.jpg", tmp_path / folder)
        write_credits(tmp_path / folder, "file,split", *(f"{n}.jpg,{credits[f'{n}.jpg']['split']}" for n in names))
    settings = (*SMALL, "work_shards=1", "build.shards=2", "train.epochs=1", "train.batch=2")
    report = make(request_for(tmp_path, overrides=settings, workers=1))
    assert report.photographs == report.listed == 6
    best, *_ = Cropper.load(report.folder)(photos / "coffee.jpg")
    assert best.box_px[2] > best.box_px[0]
    again = make(request_for(tmp_path, overrides=settings, workers=1))
    assert again.trained.already_done and not again.replaced
