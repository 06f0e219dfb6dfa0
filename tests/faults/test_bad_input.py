"""Wrong directories, receipts, options and keys: one clear line, the documented exit code, nothing touched."""

import hashlib
import json
import os
import shutil
import sys
import tarfile

import pytest

from pipeline.cli.app import main
from pipeline.core.errors import RefusedError, UsageError
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.storage.open_store import open_store
from stages.photos.source_readers import list_inputs
from tests.chain import make_photos
from tests.faults.poison import Poisoned, run_in


def tree(folder):
    """Everything in a folder: names, bytes and times of last change."""
    found = sorted(p for p in folder.rglob("*") if ".cache" not in p.parts) if folder.exists() else None
    return found and [
        (str(p), p.lstat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "")
        for p in found
    ]


@pytest.fixture
def refused(monkeypatch, capsys):
    """Runs the program, which must refuse with one line and leave the folder as it was; gives code and line."""

    def call(folder, *arguments):
        before = tree(folder)
        monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and err.startswith("error: "), err
        assert tree(folder) == before
        return stopped.value.code, err

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with photographs and captions done."""
    home = tmp_path_factory.mktemp("bad input")
    make_photos(home / "src", 6)
    (home / "r.yaml").write_text(f"base: default\nname: small\nwork_shards: 3\ningest: {{source: '{home / 'src'}'}}\n")
    from pipeline.app.progress import Display
    from pipeline.app.run_stages import RunRequest, run_stages_of

    for name, more in (("work", []), ("other", ["seed=5"])):
        request = RunRequest(
            overrides=more, config=str(home / "r.yaml"), work=str(home / name), until="caption", workers=1
        )
        run_stages_of(request, Display(quiet=True))
    return home


@pytest.fixture
def work(made, tmp_path):
    shutil.copytree(made / "other", tmp_path / "other")
    return shutil.copytree(made / "work", tmp_path / "work")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_foreign_directory(tmp_path, refused):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter 1.doc").write_text("words")
    code, line = refused(tmp_path / "thesis", "run", "--work", tmp_path / "thesis")
    assert code == 4 and "is not a run directory" in line and "use another --work" in line


@pytest.mark.parametrize("beside", ["plan.json.partial.host.1-1", "plan.json"])
def test_a_run_begun_at_this_moment_by_another_is_not_foreign(tmp_path, beside):
    store = open_store(str(tmp_path))
    (tmp_path / "thesis.doc").write_text("words")
    with pytest.raises(RefusedError, match="is not a run directory"):
        freeze_plan(store, Plan("test", 0, 2, {}))
    (tmp_path / "thesis.doc").rename(tmp_path / beside)
    seen = iter([False, True])  # the plan is not there, and then it is
    store.exists = lambda path: beside == "plan.json" and next(seen, True)
    store.read = lambda path: Plan("test", 0, 2, {}).encode()
    assert freeze_plan(store, Plan("test", 0, 2, {})).name == "test"


def test_a_newer_directory(work, refused):
    edit(work / "plan.json", format=2)
    code, line = refused(work, "run", "--work", work, "--quiet")
    assert code == 4 and "another version: plan format 2" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_kept": 99}, "99 kept, rejected and failed|kept, rejected and failed"),
        ({"recipe": {}}, "was edited"),
        ({"outputs": {"ingest/000001.tar": {"size": 1, "sha256": "0" * 64}}}, "was edited"),
        ({"host": "elsewhere"}, "was edited"),
        ({"format": 2}, "format 2"),
    ],
)
def test_a_receipt_edited_by_hand(work, refused, changes, words):
    edit(work / "ingest/000001.receipt.json", **changes)
    code, line = refused(work, "run", "--work", work, "--until", "caption", "--quiet")
    assert code == 5 and any(word in line for word in words.split("|"))


@pytest.mark.parametrize("command", ["outpaint", "propose", "filter", "build", "embed", "retrieve"])
def test_a_missing_upstream(tmp_path, refused, command):
    code, line = refused(tmp_path / "new", command, "--work", tmp_path / "new")
    assert code == 2 and "first, or add --with-upstream" in line
    assert not (tmp_path / "new").exists()


def test_a_missing_upstream_of_a_begun_run(work, refused):
    code, line = refused(work, "propose", "--work", work, "--quiet")
    assert code == 2 and "propose needs outpaint, whose shard 0 is not done: run 'procrop-data outpaint' first" in line


def test_shards_of_another_run_mixed_in(work, refused):
    for name in ("000001.tar", "000001.parquet", "000001.receipt.json"):
        shutil.copy(work.parent / "other/ingest" / name, work / "ingest" / name)
    code, line = refused(work, "run", "--work", work, "--until", "caption", "--quiet")
    assert code == 4 and "ingest/000001.receipt.json" in line and "is of another run" in line


def test_verify_names_mixed_shards(work, monkeypatch, capsys):
    shutil.copy(work.parent / "other/caption/000002.receipt.json", work / "caption")
    monkeypatch.setattr(sys, "argv", ["procrop-data", "verify", "--work", str(work)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 5 and "shards were mixed" in capsys.readouterr().out


@pytest.mark.parametrize("shards", ["0", "-3"])
def test_no_shards_are_too_few(work, refused, shards):
    code, line = refused(work, "build", f"--shards={shards}", "--work", work)
    assert code == 2 and "at least one is needed" in line


def test_a_dotted_key_of_a_stage_is_refused_before_any_work(tmp_path):
    class Dotted(Poisoned):
        def tasks(self, shard):
            return [type(task)(task.key.replace("k", "k."), task.payload) for task in super().tasks(shard)]

    with pytest.raises(UsageError, match=r"'k\.00' cannot be a key.*no dot"):
        run_shard(Dotted(images=True), run_in(tmp_path / "work"), 0, Control())
    assert sorted(os.listdir(tmp_path / "work")) == ["locks", "plan.json"]


def test_a_dotted_key_of_an_input_archive(tmp_path, refused):
    photo = make_photos(tmp_path / "src", 1) / "photo 0.jpg"
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        tar.add(photo, "my.photo.v2.jpg")
    with pytest.raises(UsageError, match=r"'my\.photo\.v2\.jpg', a key with a dot"):
        list(list_inputs(str(tmp_path / "in.tar")))


def test_a_shard_committed_meanwhile_is_not_overwritten(tmp_path):
    """The receipt is exclusive: it is never replaced, and the same work done meanwhile is taken as done."""
    run = run_in(tmp_path / "work")
    first = run_shard(Poisoned(), run, 0, Control())
    assert (
        run_shard(Poisoned({"k00"}, how="kill"), run, 0, Control()) == first
    )  # not run again, else this test would die

    class Other(Poisoned):
        version = 2

    with pytest.raises(RefusedError, match="committed by another process at the same time"):
        run_shard(Other(), run, 0, Control())
    assert run.receipt("poisoned", 0) == first
