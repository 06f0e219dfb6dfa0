"""Ingest over a folder of trouble: every file has a row, nothing is lost, nothing crashes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.core.errors import UsageError
from pipeline.core.records import Photo
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.shards import parquet
from stages.photos.list_access import ListAccess
from stages.photos.source_scan import photo_key, scan_sources
from stages.photos.split_assignment import split_of
from tests.chain import make_photos, recipe_for, run_chain, session_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trouble(tmp_path):
    folder = make_photos(tmp_path / "src", 4)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    whole = (folder / "photo 0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "copy of zero.jpg").write_bytes(whole)
    Image.open(folder / "photo 1.jpg").resize((640, 480)).save(folder / "bigger one.png")
    (folder / "sub dir.with dots").mkdir()
    Image.new("RGB", (1, 1)).save(folder / "sub dir.with dots" / "pixel.png")
    os.rename(folder / "photo 3.jpg", folder / "sub dir.with dots" / "Фото №3-naïve.final.jpg")
    (folder / "notes.txt").write_text("ignored")
    return folder


def ingest(folder, work):
    session = session_for(recipe_for(folder), work)
    run_chain(session, until="ingest")
    return [row for shard in range(3) for row in session.run.rows("ingest", shard)]


def test_each_file_has_one_row_and_its_reason(trouble, tmp_path):
    rows = ingest(trouble, tmp_path / "work")
    assert len(rows) == 10
    reasons = sorted(row["reason"] for row in rows if row["status"] == "rejected")
    assert reasons == ["duplicate", "duplicate", "too_small", "truncated", "unreadable", "unreadable"]
    kept = {row["uri"] for row in rows if row["status"] == "kept"}
    assert kept == {
        "bigger one.png",
        "copy of zero.jpg",
        "photo 2.jpg",
        "sub dir.with dots/Фото №3-naïve.final.jpg",
    } or (kept == {"bigger one.png", "photo 0.jpg", "photo 2.jpg", "sub dir.with dots/Фото №3-naïve.final.jpg"})


def test_the_larger_of_near_duplicates_stays(trouble, tmp_path):
    rows = ingest(trouble, tmp_path / "work")
    dropped = [row for row in rows if row["reason"] == "duplicate" and "photo 1.jpg" in row["detail"]]
    assert len(dropped) == 1


def test_plain_jpegs_are_stored_byte_for_byte(trouble, tmp_path):
    session = session_for(recipe_for(trouble), tmp_path / "work")
    run_chain(session, until="ingest")
    for shard in range(3):
        view = session.run.shard(session.stages[0], shard)
        for photo in view.rows("ingest", Photo):
            same = view.image("ingest", photo.key) == (trouble / photo.uri).read_bytes()
            assert same == (not photo.reencoded)


def test_an_unreadable_file_and_folder_are_rows(trouble, tmp_path):
    """Run as another user when root, who reads everything."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from PIL import Image; Image.init();"
        "from stages.photos.source_scan import scan_sources;"
        "os.geteuid() or os.setuid(65534);"
        "found = scan_sources(sys.argv[2], 3, near_bits=6, limit=0, tick=lambda: None);"
        "print(sorted(s.uri for s in found))"
    )
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        shutil.copytree(trouble, Path(home) / "src", copy_function=shutil.copyfile)
        (Path(home) / "src" / "photo 2.jpg").chmod(0)
        (Path(home) / "src" / "sub dir.with dots").chmod(0)
        command = [sys.executable, "-c", script, str(ROOT), str(Path(home) / "src")]
        done = subprocess.run(command, capture_output=True, text=True)
        (Path(home) / "src" / "sub dir.with dots").chmod(0o755)
    assert "'photo 2.jpg'" in done.stdout and "'sub dir.with dots'" in done.stdout, done.stderr


def test_a_file_that_vanishes_between_scan_and_ingest_is_a_row(trouble, tmp_path):
    session = session_for(recipe_for(trouble), tmp_path / "work")
    run_chain(session, until="ingest")
    os.remove(trouble / "photo 2.jpg")
    receipt = next(
        r
        for r in session.run.receipts("ingest")
        if any(x["uri"] == "photo 2.jpg" for x in session.run.rows("ingest", r.shard))
    )
    session.run.store.remove(f"ingest/{receipt.shard:06d}.receipt.json")
    redone = run_shard(session.stages[0], session.run, receipt.shard, Control())
    assert redone.n_rejected["unreadable"] >= 1


def test_a_file_replaced_after_it_was_listed_is_not_stored(tmp_path):
    """Its key is of the bytes that were listed: under it, no others are stored. The next run takes the new ones."""
    folder, work = make_photos(tmp_path / "src", 3), tmp_path / "work"
    session = session_for(recipe_for(folder), work)
    refresh_sources(session, Display(quiet=True))
    shutil.copy(make_photos(tmp_path / "other", 5, seed=7) / "photo 4.jpg", folder / "photo 1.jpg")
    rows = [row for shard in range(3) for row in ingest_shard(session, shard)]
    assert {row["uri"] for row in rows if row["status"] == "kept"} == {"photo 0.jpg", "photo 2.jpg"}
    (changed,) = [row for row in rows if row["reason"] == "changed"]
    assert changed["status"] == "failed" and "photo 1.jpg is not what was listed" in changed["detail"]
    kept = {row["uri"]: row["key"] for row in ingest(folder, work) if row["status"] == "kept"}
    assert len(kept) == 3 and kept["photo 1.jpg"] == photo_key((folder / "photo 1.jpg").read_bytes())


def ingest_shard(session, shard):
    run_shard(session.stages[0], session.run, shard, Control())
    return session.run.rows("ingest", shard)


def test_empty_and_missing_inputs_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no photographs in"):
        scan_sources(str(tmp_path / "empty"), 4, near_bits=6, limit=0, tick=lambda: None)
    with pytest.raises(UsageError, match="no such folder"):
        scan_sources(str(tmp_path / "missing"), 4, near_bits=6, limit=0, tick=lambda: None)


def test_globs_parquet_and_webdataset_are_inputs_too(tmp_path):
    import io
    import tarfile

    folder = make_photos(tmp_path / "src", 3)
    glob = scan_sources(str(folder / "*.jpg"), 4, near_bits=0, limit=0, tick=lambda: None)
    assert len(glob) == 3
    rows = [{"url": str(p), "author": "someone"} for p in sorted(folder.glob("*.jpg"))]
    import pyarrow as pa

    (tmp_path / "list.parquet").write_bytes(
        parquet.encode(rows, pa.schema([("url", pa.string()), ("author", pa.string())]))
    )
    access = ListAccess(local=True)
    listed = scan_sources(str(tmp_path / "list.parquet"), 4, near_bits=0, limit=0, tick=lambda: None, access=access)
    assert {s.key for s in listed} == {s.key for s in glob} and {s.author for s in listed} == {"someone"}
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for number, path in enumerate(sorted(folder.glob("*.jpg"))):
            info = tarfile.TarInfo(f"{number:04d}.jpg")
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    packed = scan_sources(str(tmp_path / "in.tar"), 4, near_bits=0, limit=0, tick=lambda: None)
    assert {s.key for s in packed} == {s.key for s in glob}
    results = run_chain(session_for(recipe_for(tmp_path / "in.tar"), tmp_path / "work"), until="ingest")
    assert sum(r.n_kept for r in results[0].receipts) == 3


def test_splits_follow_the_shares_and_never_move():
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    found = [split_of(f"key{i}", shares, 0) for i in range(2000)]
    assert 0.76 < found.count("train") / 2000 < 0.84 and found.count("val") > 120
    assert found == [split_of(f"key{i}", shares, 0) for i in range(2000)]
    as_plan_json_has_them = dict(sorted(shares.items()))
    assert found == [split_of(f"key{i}", as_plan_json_has_them, 0) for i in range(2000)]
