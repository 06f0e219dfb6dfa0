"""Folders of any store in and out, by the executors of the pipeline: names, restarts, failed photographs."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.app.crop_files.crop_photos import CropRequest
from pipeline.app.crop_folders.crop_folder import RUN, FolderRequest, crop_folder, is_for_folders
from pipeline.app.crop_folders.crop_stage import CropStage, below
from pipeline.app.progress import Display
from pipeline.core.errors import RefusedError, UsageError
from pipeline.core.resources import bundled
from pipeline.storage.open_store import open_store
from tests.chain import InProcessExecutor

PHOTOS = bundled("assets") / "photos"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two photographs of one name, one in a folder below, and one that cannot be read."""
    home = tmp_path_factory.mktemp("photos")
    (home / "trip").mkdir()
    shutil.copy(PHOTOS / "coffee.jpg", home / "a.jpg")
    shutil.copy(PHOTOS / "chelsea.jpg", home / "trip" / "a.jpg")
    (home / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    return home


def request(folder: Path, out: str, **options: object) -> CropRequest:
    return CropRequest([str(folder)], out=out, aspect="1:1", keep_subject="off", top=1, **options)


@pytest.fixture
def in_process(monkeypatch):
    """The executor without worker processes, which take seconds to start."""

    class Local(InProcessExecutor):
        def __init__(self, run, stages, workers, on_event):
            super().__init__(run, on_event)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr("pipeline.engine.executors.local.LocalExecutor", Local)


def crop(folder: Path, out: str, *, retry: bool = False, **options: object):
    return crop_folder(FolderRequest(request(folder, out, **options), retry_failed=retry), Display(quiet=True))


def test_crops_go_to_a_remote_store_and_a_rerun_does_nothing(folder, in_process):
    out = "memory://crop-folder/out"
    report = crop(folder, out)
    entries = {entry["file"]: entry for entry in report.entries}
    assert (report.photos, report.failed, report.fresh) == (3, 1, 1)
    assert set(entries) == {"a.jpg", "trip/a.jpg"}
    store = open_store(out)
    for entry in entries.values():
        (name,) = entry["files"]
        assert name.startswith(entry["file"].removesuffix(".jpg")) and store.read(name)[:2] == b"\xff\xd8"
    assert len(store.names("")) == 3  # a crop, the folder, and the run
    again = crop(folder, out)
    assert (again.photos, again.fresh, len(list(again.entries))) == (3, 0, 2)
    with pytest.raises(RefusedError, match="add --again"):
        crop(folder, out, quality=50)
    assert crop(folder, out, quality=50, again=True).fresh == 1


def test_what_is_new_or_failed_is_done_again(folder, in_process, tmp_path):
    source, out = tmp_path / "photos", tmp_path / "photos" / "crops"
    shutil.copytree(folder, source)
    assert crop(source, str(out)).photos == 3
    shutil.copy(PHOTOS / "flower.jpg", source / "broken.jpg")
    shutil.copy(PHOTOS / "wine.jpg", source / "new.jpg")
    report = crop(source, str(out), retry=True)
    assert (report.photos, report.failed) == (4, 0)  # and none of the crops, which lie within the source
    assert json.loads((out / RUN / "plan.json").read_text())["name"] == "crop"
    assert sorted(path.stem.partition("_crop")[0] for path in out.glob("*.jpg")) == ["a", "broken", "new"]


def test_foreign_files_and_local_options_are_refused(folder, tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not empty: choose a new folder, or --overwrite"):
        crop(folder, str(tmp_path))
    with pytest.raises(UsageError, match="one folder at a time"):
        crop_folder(FolderRequest(CropRequest(["a", "b"], out="memory://x/y")), Display(quiet=True))
    assert is_for_folders(CropRequest(["s3://b/photos"]), "") and is_for_folders(CropRequest(["x"]), "ray")
    assert is_for_folders(CropRequest(["x"], out="s3://b/crops"), "") and not is_for_folders(CropRequest(["x"]), "")


def test_each_photograph_is_in_one_shard(folder):
    stage = CropStage(request(folder, "memory://x/y"), 5)
    lists = [json.loads(data) for _, data in stage.prologue(None)]
    assert sorted(row["uri"] for photos in lists for row in photos) == ["a.jpg", "broken.jpg", "trip/a.jpg"]
    assert stage.shared_files(3, []) == ["photos-000003.json"]
    assert stage.outside() == CropStage(request(folder, "memory://x/y"), 5).outside()


def test_crops_within_the_source_are_no_photographs(tmp_path):
    assert below(str(tmp_path / "a" / "crops"), str(tmp_path / "a")) == "crops/"
    assert below("s3://b/a/crops/x", "s3://b/a/") == "crops/x/"
    assert below("s3://b/ab", "s3://b/a") == "" and below("memory://x", str(tmp_path)) == ""
