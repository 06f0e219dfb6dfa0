"""A photograph that is removed leaves no trace after the next run, which says what it changed."""

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.app.cropper import train
from pipeline.app.cropper.train import _locked
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import known_files, refresh_sources
from pipeline.app.takedown_leftovers import leftovers
from pipeline.core.errors import DamagedDataError, HeldError, RefusedError, UsageError
from pipeline.core.seeds import shard_of
from pipeline.engine import runner
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.final_shard_diff import RETIRED, Changes, compare, retire
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import receipt_path
from pipeline.storage.base import describe
from pipeline.storage.locks import shard_lock
from procrop_model.retrieval.entries import Entries, Reference
from stages.publishing.shard_assignment import assign_shards
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.faults.poison import Poisoned, run_in


def members(path):
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def traces_of(work, key):
    """What a search for a photo must look for: its key, its stored bytes, the bytes of its canvases."""
    stored = [data for path in work.glob("ingest/*.tar") for name, data in members(path).items() if key in name]
    painted = [data for path in work.glob("outpaint/*.tar") for name, data in members(path).items() if key in name]
    assert stored and painted
    return [key.encode(), *stored, *painted]


def content(path):
    """Bytes of a file; of a table its rows as text too, since Parquet is compressed."""
    data = path.read_bytes()
    return data + str(pq.read_table(io.BytesIO(data)).to_pylist()).encode() if path.suffix == ".parquet" else data


def holding(work, traces):
    files = [path for path in work.rglob("*") if path.is_file()]
    return sorted(str(p.relative_to(work)) for p in files if any(t in data for data in [content(p)] for t in traces))


def tars(work):
    return {str(p.relative_to(work)): p.read_bytes() for p in work.glob("dataset/shards/*.tar")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with photographs, ``src``, and a whole run on them, ``work``; tests change copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    first = run_chain(session_for(recipe_for(make_photos(folder / "src", 12)), folder / "work"))
    assert not next(r for r in first if r.stage == "build").changes
    return folder


@pytest.fixture
def home(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path, recipe_for(tmp_path / "src")


def keys_by_name(home):
    folder, _ = home
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:24] for p in (folder / "src").glob("*.jpg")}


def test_every_trace_is_gone_and_changed_shards_are_named(home):
    folder, recipe = home
    work = folder / "work"
    key = keys_by_name(home)["photo 3.jpg"]
    traces, before = traces_of(work, key), tars(work)
    assert {name.split("/")[0] for name in holding(work, traces)} >= {
        "sources.parquet", "ingest", "perceive", "dedup", "caption", "outpaint", "propose", "refine", "filter", "build", "dataset",
        "embed", "retrieve",
    }  # fmt: skip
    (folder / "src" / "photo 3.jpg").unlink()
    results = run_chain(session_for(recipe, work))
    assert holding(work, traces) == []
    after, told = tars(work), next(r for r in results if r.stage == "build").changes
    assert told.changed == sorted(n for n in before if n in after and before[n] != after[n])
    assert told.appeared == sorted(set(after) - set(before)) and told.vanished == sorted(set(before) - set(after))
    assert told and {r.stage: r.done_now for r in results}["outpaint"] == 1
    again = run_chain(session_for(recipe, work))
    assert not next(r for r in again if r.stage == "build").changes


def test_a_changed_split_leaves_no_shard_under_its_old_name(home):
    """Two photographs of the train split stay, so one becomes test, no split val is left, and its shard must vanish."""
    folder, recipe = home
    work = folder / "work"
    rows = kept_rows(session_for(recipe, work), "ingest")
    stay = [row["key"] for row in rows if row["split"] == "train"][:2]
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    traces = [trace for row in rows if row["key"] not in stay for trace in traces_of(work, row["key"])]
    for name, key in keys_by_name(home).items():
        if key not in stay:
            (folder / "src" / name).unlink()
    told = next(r for r in run_chain(session_for(recipe, work)) if r.stage == "build").changes
    assert told.vanished and all("-val-" in name for name in told.vanished)
    assert len(tars(work)) == recipe.build.shards and holding(work, traces) == []


def test_the_last_photograph_of_a_work_shard_can_go(home):
    folder, recipe = home
    work = folder / "work"
    keys = keys_by_name(home)
    mine = {name: key for name, key in keys.items() if shard_of(key, recipe.work_shards) == 1}
    traces = [trace for key in mine.values() for trace in traces_of(work, key)]
    for name in mine:
        (folder / "src" / name).unlink()
    run_chain(session_for(recipe, work))
    assert holding(work, traces) == []
    assert members(work / "ingest" / "000001.tar") == {}


def test_fewer_samples_than_shards_is_reported(home):
    folder, recipe = home
    recipe = recipe.model_copy(update={"build": recipe.build.model_copy(update={"exact": True})})
    work = folder / "work"
    keys = keys_by_name(home)
    gone = sorted(keys)[1:]
    traces = [trace for name in gone for trace in traces_of(work, keys[name])]
    for name in gone:
        (folder / "src" / name).unlink()
    refresh_sources(session_for(recipe, work), Display(quiet=True), accept_takedown=True)
    with pytest.raises(UsageError, match="samples in 1 splits fill"):
        run_chain(session_for(recipe, work))
    fewer = recipe_for(folder / "src", build={"shards": 1})
    run_chain(session_for(fewer, work), accept_change=True)
    assert {name.split("/")[0] for name in holding(work, traces)} == {"lineage"}


def test_a_takedown_after_an_interrupted_rebuild_still_sweeps(home):
    """A kill between removing old receipts and writing the new shards leaves tars that no receipt in force names."""
    folder, recipe = home
    work = folder / "work"
    key = keys_by_name(home)["photo 5.jpg"]
    traces = traces_of(work, key)
    run = session_for(recipe, work).run
    old = "dataset/shards/test-train-000099.tar"
    (work / old).write_bytes(next(iter(tars(work).values())) + traces[1])
    for receipt in run.receipts("build"):
        named = replace(receipt, outputs={old: next(iter(receipt.outputs.values()))})
        for written in (receipt, named):
            run.store.write(receipt_path("build", receipt.shard), written.encode())
            retire(run, receipt_path("build", receipt.shard))
    (folder / "src" / "photo 5.jpg").unlink()
    run_chain(session_for(recipe, work))
    assert holding(work, traces) == [] and not (work / old).exists()


def test_a_sweep_removes_what_a_receipt_of_this_run_names(home):
    folder, recipe = home
    work = folder / "work"
    session = session_for(recipe, work)
    first = session.run.receipts("build")[0]
    strange = [work / "dataset" / "shards" / "mine-train-000000.tar", work / "dataset" / "metadata" / "notes.parquet"]
    other = work / "dataset" / "shards" / "test-train-000077.tar"
    for path in (*strange, other):
        path.write_bytes(b"mine")
    foreign = replace(first, run="another", outputs={"dataset/shards/test-train-000077.tar": describe(b"mine")})
    session.run.store.write(f"build/{RETIRED}/foreign.receipt.json", foreign.encode())
    session.run.store.write(f"build/{RETIRED}/torn.receipt.json", b"{")
    (folder / "src" / "photo 5.jpg").unlink()
    run_chain(session)
    assert all(path.read_bytes() == b"mine" for path in (*strange, other))
    assert session.run.store.names(f"build/{RETIRED}") == []


def test_a_split_that_is_a_path_removes_nothing(home):
    """``split`` of credits.csv once decided what a sweep removed, outside of the run directory too."""
    folder, recipe = home
    victims = [folder / "victim" / name for name in ("a-000000.tar", "a-000000.parquet")]
    (folder / "victim").mkdir()
    for path in victims:
        path.write_bytes(b"mine")
    (folder / "src" / "credits.csv").write_text("file,split\nphoto 1.jpg,x/../../../../victim/a\n")
    with pytest.raises(UsageError, match=r"split 'x/\.\./"):
        run_chain(session_for(recipe, folder / "work"))
    with pytest.raises(UsageError, match=r"split 'x/\.\./"):
        assign_shards([(["k"], ["x/../../../../victim/a"])], 1, 0, "test")
    receipt = session_for(recipe, folder / "work").run.receipts("build")[0]
    outside = replace(receipt, outputs={"dataset/shards/../../../victim/a-000000.tar": describe(b"mine")})
    with pytest.raises(DamagedDataError, match="leads outside of the run directory"):
        Receipt.decode(outside.encode(), "here")
    assert all(path.read_bytes() == b"mine" for path in victims)


def test_removed_files_are_counted_and_other_places_are_named(home):
    folder, recipe = home
    work = folder / "work"
    keys = keys_by_name(home)
    files = known_files(session_for(recipe, work).run)
    (folder / "src" / "photo 2.jpg").unlink()
    assert refresh_sources(session_for(recipe, work), Display(quiet=True)) == 1
    assert refresh_sources(session_for(recipe, work), Display(quiet=True)) == 0
    references = work / "models" / "cropper" / "cropper" / "references"
    (work / "report" / "crops").mkdir(parents=True)
    references.mkdir(parents=True)
    known = Entries.of(Reference(key, key, "", "", "", "", "") for key in keys.values())
    references.joinpath("references.parquet").write_bytes(known.encode())
    sink = io.BytesIO()
    Image.new("RGB", (9, 9)).save(sink, "JPEG")
    (work / "report" / "crops" / "gone.jpg").write_bytes(sink.getvalue())
    assert len(leftovers(work, files, removed=0)) == 1  # the crop of a picture that never was in the source
    files = known_files(session_for(recipe, work).run)
    assert keys["photo 2.jpg"] not in files["key"].to_pylist()
    (work / "lineage").mkdir()
    model, report, lineage = leftovers(work, files, removed=1)
    assert model.startswith("models/cropper/cropper/references holds features of 1 ") and "procrop-data train" in model
    assert "procrop-data report" in report and lineage.startswith("lineage/")


def test_many_gone_files_are_confirmed(tmp_path):
    """A part of a source that is not mounted looks like a takedown."""
    folder = make_photos(tmp_path / "src", 30)
    session = session_for(recipe_for(folder), tmp_path / "work")
    refresh_sources(session, Display(quiet=True))
    (folder / "photo 1.jpg").unlink()
    assert refresh_sources(session, Display(quiet=True)) == 1
    for number in range(10, 22):
        (folder / f"photo {number}.jpg").rename(tmp_path / f"{number}")
    before = session.run.store.read("sources.parquet")
    with pytest.raises(RefusedError, match=r"12 of 29 input files .* are gone.*--accept-takedown"):
        refresh_sources(session, Display(quiet=True))
    assert session.run.store.read("sources.parquet") == before and session.run.plan.sources == 29
    assert refresh_sources(session, Display(quiet=True), accept_takedown=True) == 12


def test_folders_half_moved_aside_are_moved_on(tmp_path, monkeypatch):
    run = run_in(tmp_path / "work")
    for folder in ("ingest", "outpaint", "dataset"):
        run.store.write(f"{folder}/x.bin", folder.encode())
    moves = [[folder, f"lineage/001/{folder}"] for folder in ("dataset", "ingest", "outpaint")]
    run.store.write(runner.MOVES, json.dumps(moves).encode())
    run.store.move("dataset", "lineage/001/dataset")  # and then it was killed
    runner._finish_moves(run)
    assert [run.store.read(f"lineage/001/{folder}/x.bin") for folder, _ in moves] == [f.encode() for f, _ in moves]
    assert not any(run.store.exists(folder) for folder, _ in moves) and not run.store.exists(runner.MOVES)
    runner._finish_moves(run)


def test_files_are_not_moved_from_under_a_run_at_work(tmp_path):
    run, before = run_in(tmp_path / "work"), Poisoned()
    for shard in range(2):
        run_shard(before, run, shard, Control())
    changed = Poisoned()
    changed.version = 2
    with shard_lock(run.store, "poisoned", 1), pytest.raises(HeldError, match=r"is held by process.*moved aside"):
        runner.open_stage(changed, run, runner.Options(accept_change=True), [changed])
    assert run.store.names("lineage") == [] and len(run.receipts("poisoned")) == 2
    runner.open_stage(changed, run, runner.Options(accept_change=True), [changed])
    assert run.store.names("lineage/001/poisoned") and run.receipts("poisoned") == []


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with _locked(tmp_path / "out"), pytest.raises(HeldError, match="is held by"), _locked(tmp_path / "out"):
        pass


def test_a_training_holds_its_folder(tmp_path, monkeypatch):
    """The trainer itself is left out; what it would write to is held while it runs, and free after."""
    out, held = tmp_path / "out", []

    def fit(session, config, root, home, *, quiet):
        held.append((home / "locks" / "train-run.json").exists())
        (home / "finished.json").write_text("{}")

    monkeypatch.setattr(train, "fit_cropper", fit)
    request = train.TrainRequest(
        work=str(tmp_path / "work"),
        overrides=("train.mode=supervised", "train.sets=[flms:x]"),
        out=str(out),
        device="cpu",
    )
    report = train.train_cropper(request, quiet=True)
    assert held == [True] and report is not None and not (out / "locks" / "train-run.json").exists()


def test_changes_are_told_apart():
    before = {"a.tar": "1", "b.tar": "1", "c.tar": "1", "a.parquet": "1"}
    told = compare(before, {"a.tar": "1", "b.tar": "2", "d.tar": "1", "a.parquet": "2"})
    assert told.as_json() == {"changed": ["b.tar"], "appeared": ["d.tar"], "vanished": ["c.tar"]}
    assert not compare(before, before) and not compare(None, before)
    many = Changes(changed=[f"dataset/shards/{n}.tar" for n in range(25)])
    assert many.lines()[0].endswith("19.tar and 5 more") and many.lines()[0].startswith(
        "25 final shards changed: 0.tar"
    )
