"""Real damage of every kind: verify names it, repair brings the same bytes back."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.app.progress import Display
from pipeline.checks.receipt_audit import DAMAGE, NOTE, STALE
from pipeline.checks.repair import RepairTools, repair
from pipeline.checks.verify import verify_run
from pipeline.cli.app import main
from pipeline.core.errors import RefusedError
from pipeline.engine.runner import Options, run_stages
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.plan import require_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store
from tests.chain import make_photos, recipe_for, session_for

OUTPAINT = "outpaint/000000"


class InProcess:
    """Shards one after another, here; remembers which."""

    def __init__(self, run):
        self.run, self.done = run, []

    def map(self, stage, shards):
        for shard in shards:
            self.done.append((stage.name, shard))
            yield run_shard(stage, self.run, shard, Control())


def finish(session):
    from pipeline.app.refresh_sources import refresh_sources

    display = Display(quiet=True)
    refresh_sources(session, display)
    chain = session.stages
    run_stages(chain, session.run, InProcess(session.run), watcher=display, chain=chain, options=Options())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("made")
    source = make_photos(home / "src", 14)
    finish(session_for(recipe_for(source), home / "work"))
    return home


@pytest.fixture
def work(made, tmp_path):
    return Path(shutil.copytree(made / "work", tmp_path / "work"))


@pytest.fixture
def session(made, work):
    return session_for(recipe_for(made / "src"), work)


def check(session, **options):
    return verify_run(session.run, session.stages, **options)


def mend(session, verification):
    executor = InProcess(session.run)
    shop = RepairTools(lambda stages: contextlib.nullcontext(executor), Display(quiet=True))
    notes = repair(session.run, session.stages, verification, shop)
    return executor.done, notes


def bad(verification):
    return {(f.severity, f.where) for f in verification.findings if f.severity != NOTE}


def digests(work):
    return {
        str(p.relative_to(work)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(work.rglob("*")) if p.is_file() and not p.name.endswith(".receipt.json")
    }  # fmt: skip


def flip(path, at=1000):
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def edit(path, **changes):
    """Edit a receipt without a seal, as older ones are: the files themselves must give the lie to it."""
    body = json.loads(path.read_text())
    del body["seal"]
    path.write_text(json.dumps({**body, **changes}))


def test_a_sound_run_has_no_findings_and_every_byte_is_read(session):
    read = []
    verification = check(session, threads=3, progress=read.append)
    assert verification.findings == [] and verification.sound
    assert sum(read) == verification.bytes > 100_000 and verification.files > verification.receipts > 30


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        (f"{OUTPAINT}.tar", flip, "sha256 is"),
        (f"{OUTPAINT}.tar", lambda path: flip(path, 10), "header at byte 0"),
        (f"{OUTPAINT}.tar", truncate, "bytes, the receipt says"),
        (f"{OUTPAINT}.parquet", truncate, "bytes, the receipt says"),
        (f"{OUTPAINT}.tar", os.unlink, "is gone"),
        ("filter/000002.parquet", flip, "sha256 is"),
        ("filter/shared/calibration.json", lambda path: flip(path, 3), "sha256 is"),
        ("retrieve/shared/index.faiss", os.unlink, "is gone"),
        ("dataset/index/wids.json", os.unlink, "is gone"),
        ("dataset/README.md", lambda path: flip(path, 30), "sha256 is"),
        ("dataset/shards/procrop-test-000000.tar", lambda path: path.write_bytes(b""), "has 0 bytes"),
        ("ingest/000000.tar", flip, "sha256 is"),
    ],
)
def test_damage_is_named_and_repaired_to_the_same_bytes(session, work, name, damage, words):
    before = digests(work)
    path = work / name
    damage(path)
    verification = check(session)
    assert bad(verification) == {(DAMAGE, name)}
    (finding,) = [f for f in verification.findings if f.severity == DAMAGE]
    assert words in finding.what and "--repair" in finding.fix and "\n" not in finding.line()
    done, notes = mend(session, verification)
    assert digests(work) == before and check(session).sound and notes == []
    assert {stage for stage, _ in done} <= {finding.stage}  # what was made from it is true again


def test_swapped_shards_are_both_named_and_restored(session, work):
    before = digests(work)
    for suffix in ("tar", "parquet", "receipt.json"):
        a, b = work / f"outpaint/000000.{suffix}", work / f"outpaint/000001.{suffix}"
        aside = a.with_name("aside")
        os.rename(a, aside)
        os.rename(b, a)
        os.rename(aside, b)
    verification = check(session)
    wrong = [f for f in verification.findings if f.severity == DAMAGE]
    assert {f.where for f in wrong} == {"outpaint/000000.receipt.json", "outpaint/000001.receipt.json"}
    assert "is the receipt of outpaint shard 1: shards were swapped" in wrong[0].what
    mend(session, verification)
    assert digests(work) == before and check(session).sound


def test_swapped_files_under_their_right_receipts_are_named(session, work):
    a, b = work / "ingest/000000.tar", work / "ingest/000001.tar"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    assert bad(check(session)) == {(DAMAGE, "ingest/000000.tar"), (DAMAGE, "ingest/000001.tar")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {"ingest": "0" * 64}}, "was edited: its fingerprint"),
        ({"n_in": 999}, "999 in, but"),
        ({"n_in": "many"}, "many in, but"),
        ({"outputs": {}}, "was edited: it names []"),
        ({"outputs": []}, "is not"),
        ({"outputs": {f"{OUTPAINT}.tar": {}, f"{OUTPAINT}.parquet": {}}}, "no size"),
        ({"surprise": 1}, "is not readable"),
    ],
)
def test_a_receipt_edited_by_hand_is_named_and_repaired(session, work, changes, words):
    before = digests(work)
    path = work / f"{OUTPAINT}.receipt.json"
    edit(path, **changes)
    verification = check(session)
    assert bad(verification) == {(DAMAGE, f"{OUTPAINT}.receipt.json")}
    assert words in next(f.what for f in verification.findings if f.severity == DAMAGE)
    assert mend(session, verification)[0] == [("outpaint", 0)]
    assert digests(work) == before and check(session).sound


def test_counts_that_add_up_but_are_not_the_tables_are_found(session, work):
    path = work / f"{OUTPAINT}.receipt.json"
    receipt = json.loads(path.read_text())
    edit(path, n_in=receipt["n_in"] + 1, n_kept=receipt["n_kept"] + 1)
    (finding,) = [f for f in check(session).findings if f.severity == DAMAGE]
    assert finding.where == f"{OUTPAINT}.parquet" and "the receipt was edited" in finding.what


def test_a_table_that_differs_from_its_tar_is_damage(session, work):
    table = pq.read_table(work / f"{OUTPAINT}.parquet")
    sizes = [None if v is None else v + 1 for v in table["image_size"].to_pylist()]
    at = table.schema.get_field_index("image_size")
    pq.write_table(table.set_column(at, "image_size", pa.array(sizes, pa.int64())), work / f"{OUTPAINT}.parquet")
    data = (work / f"{OUTPAINT}.parquet").read_bytes()
    path = work / f"{OUTPAINT}.receipt.json"
    outputs = json.loads(path.read_text())["outputs"]
    outputs[f"{OUTPAINT}.parquet"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(path, outputs=outputs)
    verification = check(session)
    assert (DAMAGE, f"{OUTPAINT}.tar") in bad(verification)
    assert "is not what the table's row says" in next(
        f.what for f in verification.findings if f.where == f"{OUTPAINT}.tar"
    )


def test_rubbish_with_a_fitting_digest_is_not_a_table(session, work):
    data = b"PAR1" + bytes(200) + b"PAR1"
    (work / "propose/000000.parquet").write_bytes(data)
    path = work / "propose/000000.receipt.json"
    about = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(path, outputs={"propose/000000.parquet": about})
    finding = next(f for f in check(session).findings if f.where == "propose/000000.parquet")
    assert finding.severity == DAMAGE and "is not a table" in finding.what


def test_a_lost_upstream_receipt_makes_shards_stale(session, work):
    before = digests(work)
    (work / f"{OUTPAINT}.receipt.json").unlink()
    verification = check(session)
    assert "outpaint shard 0, which it was made from, is not done" in "".join(f.what for f in verification.findings)
    done, _ = mend(session, verification)
    assert done == [("outpaint", 0)]
    assert digests(work) == before and check(session).sound


@pytest.mark.long
def test_shards_of_other_photographs_are_stale_and_repaired(made, tmp_path):
    source = Path(shutil.copytree(made / "src", tmp_path / "src"))
    work = Path(shutil.copytree(made / "work", tmp_path / "work"))
    (source / "photo 3.jpg").unlink()
    session = session_for(recipe_for(source), work)
    from pipeline.app.refresh_sources import refresh_sources

    refresh_sources(session, Display(quiet=True))
    verification = check(session)
    assert {s for s, _ in bad(verification)} == {STALE}
    assert "made from other bytes of sources" in next(f.what for f in verification.findings if f.severity == STALE)
    _, notes = mend(session, verification)
    assert check(session).sound
    assert any("other bytes than its receipt named" in note.what for note in notes)
    finish(session_for(recipe_for(source), tmp_path / "fresh"))
    assert {k: v for k, v in digests(work).items() if k.startswith("dataset/shards")} == {
        k: v for k, v in digests(tmp_path / "fresh").items() if k.startswith("dataset/shards")
    }


def test_one_shard_of_another_recipe_is_damage(made, session, work):
    before = digests(work)
    path = work / "propose/000000.receipt.json"
    receipt = session.run.receipt("propose", 0)
    from dataclasses import replace

    path.write_bytes(replace(receipt, recipe={**receipt.recipe, "version": 99}).encode())
    verification = check(session)
    assert bad(verification) == {(DAMAGE, "propose/000000.receipt.json")}
    assert "version: 99 -> " in next(f.what for f in verification.findings if f.severity == DAMAGE)
    mend(session, verification)
    assert digests(work) == before and check(session).sound


def test_a_stage_of_another_recipe_is_a_note_and_not_repaired(made, work):
    other = session_for(recipe_for(made / "src", outpaint={"variants": 2}), work)
    verification = check(other)
    assert verification.sound and "settings.variants: 3 -> 2" in next(
        f.what for f in verification.findings if f.where == "outpaint"
    )
    flip(work / f"{OUTPAINT}.tar")
    before = (work / f"{OUTPAINT}.receipt.json").read_bytes()
    with pytest.raises(RefusedError, match="outpaint was made with another recipe"):
        mend(other, check(other))
    assert (work / f"{OUTPAINT}.receipt.json").read_bytes() == before


def test_leftover_files_are_notes(session, work):
    for name in ("ingest/000000.tar.partial.host.7-8", "outpaint/journal/000009.jsonl", "propose/notes.txt",
                 "plan.json.partial.host.1-1", "locks/outpaint-000000.json", "dataset/shards/mine.tar"):  # fmt: skip
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text("x")
    verification = check(session)
    notes = {f.where: f.what for f in verification.findings}
    assert verification.sound and len(notes) == 6
    assert "killed" in notes["ingest/000000.tar.partial.host.7-8"] and "killed" in notes["plan.json.partial.host.1-1"]
    assert "journal" in notes["outpaint/journal/000009.jsonl"] and "held" in notes["locks/outpaint-000000.json"]
    assert notes["propose/notes.txt"] == notes["dataset/shards/mine.tar"] == "no receipt names it"


def test_newer_receipts_and_edited_plans_are_refused(session, work):
    body = json.loads((work / "plan.json").read_text())
    (work / "plan.json").write_text(json.dumps({**body, "run_seed": 77}))

    verification = verify_run(Run(open_store(str(work)), require_plan(open_store(str(work)))), session.stages)
    assert "run_seed is 77, its config says 0" in next(f.what for f in verification.findings if f.where == "plan.json")
    edit(work / f"{OUTPAINT}.receipt.json", format=2)
    with pytest.raises(RefusedError, match="newer version"):
        check(session)


def test_a_run_on_an_object_store_is_read_by_ranges(session, work):
    store = open_store(f"memory://{work.parent.name}")
    for path in work.rglob("*"):
        if path.is_file():
            store.write(str(path.relative_to(work)), path.read_bytes())
    remote = Run(store, session.run.plan)
    assert verify_run(remote, session.stages, threads=2).findings == []
    store.write(f"{OUTPAINT}.tar", bytes(700))
    assert bad(verify_run(remote, session.stages)) == {(DAMAGE, f"{OUTPAINT}.tar")}
    for name in store.names(""):
        store.remove(name)


def test_a_broken_list_of_sources_is_named(session, work):
    truncate(work / "sources.parquet")
    assert (DAMAGE, "sources.parquet") in bad(check(session))


def program(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out = capsys.readouterr()
    return stopped.value.code or 0, out.out, out.err


@pytest.fixture
def small(made, tmp_path, monkeypatch, capsys):
    """A run by the installed program, of stages that need no model, and a way to call the program on it."""
    (tmp_path / "r.yaml").write_text(
        f"base: default\nname: small\nwork_shards: 2\ningest: {{source: '{made / 'src'}'}}\n"
    )
    call = lambda *a: program(monkeypatch, capsys, *a)  # noqa: E731
    where = ("--work", tmp_path / "w")
    assert call("run", "--config", tmp_path / "r.yaml", *where, "--until", "ingest", "--workers", 1, "--quiet")[0] == 0
    return tmp_path / "w", lambda *a: call(*a, *where)


def test_the_command_ends_with_five_for_damage_and_repairs_it(small):
    work, call = small
    code, out, _ = call("verify")
    assert code == 0 and out.splitlines()[-1].endswith("all as the receipts say")
    before = digests(work)
    flip(work / "ingest/000001.tar")
    code, out, _ = call("verify", "--json")
    body = json.loads(out)
    assert code == 5 and body["damage"] == 1 and body["findings"][0]["where"] == "ingest/000001.tar"
    code, out, err = call("verify", "--repair", "--workers", 1)
    assert code == 0 and "damage: ingest/000001.tar" in out and "(after repair)" in out, err
    assert digests(work) == before
    left = f"ingest/000001.tar.partial.{'0' * 32}"
    (work / left).write_bytes(b"x")
    assert call("verify")[0] == 0 and (work / left).exists()
    code, out, _ = call("verify", "--repair", "--workers", 1)
    assert code == 0 and f"note: {left}: " in out and not (work / left).exists()
    (work / "sources.parquet").unlink()
    assert call("verify")[0] == 5 and call("verify", "--repair", "--workers", 1)[0] == 0
    assert digests(work) == before


def test_repair_of_ingest_without_photographs_is_refused(small, made):
    work, call = small
    flip(work / "ingest/000001.tar")
    damaged = digests(work)
    photo = made / "src" / "photo 5.jpg"
    os.rename(photo, made / "photo 5.jpg")
    try:
        code, _, err = call("verify", "--repair", "--workers", 1)
    finally:
        os.rename(made / "photo 5.jpg", photo)
    assert code == 4 and "no longer holds the photographs" in err and err.count("\n") == 1
    assert digests(work) == damaged and (work / "ingest/000001.receipt.json").exists()


@pytest.mark.parametrize(
    ("plan", "code", "words"),
    [
        (None, 2, "no run in"),
        ("{}", 5, "is not a plan"),
        ('{"format": 9}', 4, "another version"),
        ("\xff", 5, "is not a plan"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "status"])
def test_foreign_and_newer_directories_get_one_line(monkeypatch, capsys, tmp_path, command, plan, code, words):
    (tmp_path / "thesis.doc").write_text("")
    if plan is not None:
        (tmp_path / "plan.json").write_text(plan, encoding="latin-1")
    ended, out, err = program(monkeypatch, capsys, command, "--work", tmp_path)
    assert (ended, out) == (code, "") and words in err and err.count("\n") == 1
    assert len(os.listdir(tmp_path)) == (1 if plan is None else 2)


def test_shards_of_another_machine_are_a_note(session, work):
    path = work / "embed/000001.receipt.json"
    environment = json.loads(path.read_text())["environment"]
    edit(path, environment={**environment, "processor": "x86_64 other"})
    verification = check(session)
    (note,) = [f for f in verification.findings if f.severity == NOTE]
    assert (
        note.where == "embed" and "1 of 3 shards were made with other versions or processors (processor: " in note.what
    )
    assert bad(verification) == set()
