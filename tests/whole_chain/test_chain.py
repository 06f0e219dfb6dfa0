"""The whole chain with stand-in models: counts, reruns, growth, kills, worker counts, changes of recipe."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.checks.receipt_audit import audit_receipts, freshness
from pipeline.core.errors import MissingUpstreamError, RefusedError
from pipeline.runs.receipts import Receipt
from tests.chain import make_photos, recipe_for, run_chain, session_for

ROOT = Path(__file__).resolve().parents[2]


def digests(work: Path) -> dict[str, str]:
    """sha256 of everything that a reader would trust."""
    names = [p for p in work.rglob("*") if p.suffix in (".tar", ".parquet", ".faiss", ".npy") or "dataset" in p.parts]
    return {
        str(p.relative_to(work)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in names if p.is_file() and not {"journal", ".cache"} & set(p.parts)
    }  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"), 14)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    work = tmp_path_factory.mktemp("run") / "work"
    return work, run_chain(session_for(recipe_for(photos), work), workers=2)


def test_counts_add_up_from_stage_to_stage(finished):
    _, results = finished
    kept = {r.stage: sum(x.n_kept for x in r.receipts) for r in results}
    came = {r.stage: sum(x.n_in for x in r.receipts) for r in results}
    assert came["ingest"] == 14
    assert came["perceive/photos"] == kept["perceive/photos"] == kept["ingest"]
    assert came["propose"] == kept["perceive/canvases"] == came["perceive/canvases"] == kept["outpaint"]
    assert came["filter"] == kept["refine/round-02"] == kept["refine/round-01"] == kept["propose"]
    assert came["build"] == kept["build"] == kept["filter"] > 4
    assert came["embed"] == kept["ingest"] + kept["filter"]
    assert kept["retrieve"] == kept["filter"]


def test_nothing_but_promised_files_stays(finished):
    work, _ = finished
    stray = [p for p in work.rglob("*") if ".partial." in p.name or p.suffix == ".jsonl"]
    assert stray == [] and os.listdir(work / "locks") == []


def test_a_rerun_does_nothing(finished, photos):
    work, _ = finished
    before = digests(work)
    assert all(r.done_now == 0 for r in run_chain(session_for(recipe_for(photos), work)))
    assert digests(work) == before


@pytest.mark.long
def test_other_folder_and_worker_count_give_the_same_bytes(finished, photos, tmp_path):
    work, _ = finished
    run_chain(session_for(recipe_for(photos), tmp_path / "elsewhere"), workers=1)
    assert digests(tmp_path / "elsewhere") == digests(work)


def test_a_lost_file_is_made_again(finished, photos):
    work, _ = finished
    before = digests(work)
    (work / "outpaint" / "000001.tar").unlink()
    results = {r.stage: r.done_now for r in run_chain(session_for(recipe_for(photos), work))}
    assert results["outpaint"] == 1 and results["ingest"] == 0 and results["propose"] == 0
    assert digests(work) == before


def test_changed_settings_are_refused_unless_accepted(photos, tmp_path):
    work = tmp_path / "work"
    run_chain(session_for(recipe_for(photos), work), until="filter")
    other = recipe_for(photos, outpaint={"variants": 2})
    with pytest.raises(RefusedError, match=r"settings.variants: 3 -> 2.*--accept-change"):
        run_chain(session_for(other, work), until="filter")
    old = hashlib.sha256((work / "outpaint" / "000000.tar").read_bytes()).hexdigest()
    results = {r.stage: r.done_now for r in run_chain(session_for(other, work), until="filter", accept_change=True)}
    assert results["ingest"] == 0 and results["outpaint"] == 3 and results["filter"] == 3
    kept = work / "lineage" / "001" / "outpaint" / "000000.tar"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == old
    assert (work / "lineage" / "001" / "refine").is_dir()


def test_another_run_in_the_directory_is_refused(photos, tmp_path):
    run_chain(session_for(recipe_for(photos), tmp_path / "work"), until="ingest")
    with pytest.raises(RefusedError, match="run_seed: 0 -> 5"):
        session_for(recipe_for(photos, seed=5), tmp_path / "work")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.doc").write_text("")
    with pytest.raises(RefusedError, match="not a run directory"):
        session_for(recipe_for(photos), tmp_path / "foreign")


def test_a_stage_asked_too_early_names_the_command(photos, tmp_path):
    session = session_for(recipe_for(photos), tmp_path / "work")
    session.stages[:] = [stage for stage in session.stages if stage.name == "propose"]
    with pytest.raises(MissingUpstreamError, match="run 'procrop-data outpaint' first"):
        run_chain(session)


def test_adding_photos_touches_only_their_shards(photos, tmp_path):
    source, work = tmp_path / "src", tmp_path / "work"
    make_photos(source, 8)
    recipe = recipe_for(source, work_shards=8)
    run_chain(session_for(recipe, work), until="propose")
    extra = make_photos(tmp_path / "extra", 1, seed=99)
    os.rename(extra / "photo 0.jpg", source / "new.jpg")
    results = {r.stage: r.done_now for r in run_chain(session_for(recipe, work), until="propose")}
    assert len(results) == 7 and set(results.values()) == {1}


def kill_script(source: Path, work: Path, paint_seconds: float = 0.02) -> str:
    return (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.chain import recipe_for, run_chain, session_for\n"
        "if __name__ == '__main__':\n"
        f"    run_chain(session_for(recipe_for(Path({str(source)!r})), Path({str(work)!r}), {paint_seconds}), workers=2)\n"
    )


@pytest.mark.long
@pytest.mark.parametrize("after", [0.2, 1.7])
def test_kill_nine_and_rerun_give_identical_bytes(finished, photos, tmp_path, after):
    """The kill comes ``after`` seconds of work, wherever that is; the rerun must not differ from an undisturbed run."""
    work = tmp_path / "work"
    script = tmp_path / "go.py"
    script.write_text(kill_script(photos, work))
    process = subprocess.Popen([sys.executable, str(script), str(ROOT)], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(work.glob("outpaint/journal/*.jsonl")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_chain(session_for(recipe_for(photos), work), workers=2)
    assert digests(work) == digests(finished[0])


@pytest.mark.long
def test_sigterm_finishes_the_micro_batch_and_exits_for_a_rerun(finished, photos, tmp_path):
    work = tmp_path / "work"
    script = tmp_path / "go.py"
    script.write_text(
        kill_script(photos, work, paint_seconds=1.0)
    )  # out-painting lasts long after its first micro-batch
    process = subprocess.Popen([sys.executable, str(script), str(ROOT)], stderr=subprocess.PIPE, text=True)
    while not list(work.glob("outpaint/journal/*.jsonl")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert "InterruptedRunError: stopped in outpaint" in errors
    assert os.listdir(work / "locks") == []
    run_chain(session_for(recipe_for(photos), work), workers=2)
    assert digests(work) == digests(finished[0])


def test_fewer_samples_than_shards_fill_fewer_shards(tmp_path):
    recipe = recipe_for(make_photos(tmp_path / "src", 4), build={"shards": 40})
    session = session_for(recipe, tmp_path / "work")
    results = {result.stage: result for result in run_chain(session)}
    samples = sum(receipt.n_kept for receipt in results["build"].receipts)
    tars = list((tmp_path / "work" / "dataset" / "shards").iterdir())
    assert len(tars) == samples < 40
    assert len(list((tmp_path / "work" / "dataset" / "metadata").iterdir())) == samples
    assert {tar.name.split("-")[1] for tar in tars} == {"train", "val", "test"}
    assert all(result.done_now == 0 for result in run_chain(session_for(recipe, tmp_path / "work")))
    audit = audit_receipts(session.run, session.stages)
    assert [*audit.findings, *freshness(session.run, session.stages, audit)] == []


def test_receipts_are_readable_json_with_what_was_done(finished):
    work, _ = finished
    for path in work.rglob("0*.receipt.json"):
        receipt = Receipt.decode(path.read_bytes(), str(path))
        body = json.loads(path.read_text())
        assert body["n_in"] == body["n_kept"] + sum(body["n_rejected"].values()) + sum(body["n_failed"].values())
        for name, about in receipt.outputs.items():
            assert hashlib.sha256((work / name).read_bytes()).hexdigest() == about["sha256"]
