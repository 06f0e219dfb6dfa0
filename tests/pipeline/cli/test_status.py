"""``status --missing``: what is to do, and the one expression that an array job takes."""

import json
import os
import shutil
import sys

import pytest

from pipeline.cli.app import main
from pipeline.engine.completion import shards_to_do
from tests.canned import SHARDS, canned_run
from tests.chain import make_photos


@pytest.fixture
def program(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        return stopped.value.code or 0, out.out, out.err

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ingest done by the program, in 13 work shards."""
    home = tmp_path_factory.mktemp("status")
    source = make_photos(home / "src", 5)
    (home / "r.yaml").write_text(f"base: default\nname: small\nwork_shards: 13\ningest: {{source: '{source}'}}\n")
    from pipeline.app.progress import Display
    from pipeline.app.run_stages import RunRequest, run_stages_of

    request = RunRequest(config=str(home / "r.yaml"), work=str(home / "work"), until="ingest", workers=1)
    run_stages_of(request, Display(quiet=True))
    return home / "work"


@pytest.fixture
def work(made, tmp_path):
    return shutil.copytree(made, tmp_path / "work")


def test_missing_shards_as_an_array_expression_alone(work, program):
    for shard in (0, 1, 2, 3, 7, 9, 10, 11, 12):
        (work / f"ingest/{shard:06d}.receipt.json").unlink()
    assert program("status", "--missing", "--slurm", "-w", work) == (0, "0-3,7,9-12\n", "")
    assert program("status", "--missing", "--slurm", "--stage", "ingest", "-w", work)[1] == "0-3,7,9-12\n"
    assert program("status", "--missing", "--slurm", "--stage", "caption", "-w", work)[1] == "0-12\n"
    assert program("status", "--missing", "--slurm", "--stage", "refine", "-w", work)[1] == "0-12\n"


def test_nothing_missing_is_an_empty_line(work, program):
    assert program("status", "--missing", "--slurm", "--stage", "ingest", "-w", work) == (0, "\n", "")
    assert program("status", "--missing", "--slurm", "-w", work) == (0, "0-12\n", "")  # of perceive/photos
    lines = program("status", "--missing", "-w", work)[1].splitlines()
    assert lines[0] == "perceive/photos: 0-12" and not any(line.startswith("ingest") for line in lines)
    found = json.loads(program("status", "--missing", "--json", "-w", work)[1])["missing"]
    assert found["perceive/photos"] == found["dedup"] == list(range(13)) and "ingest" not in found


def test_wrong_options_and_stages_are_wrong_usage(work, program):
    assert program("status", "--slurm", "-w", work)[0] == 2
    code, out, err = program("status", "--missing", "--stage", "polish", "-w", work)
    assert (
        (code, out) == (2, "") and "stages are ingest, perceive/photos, dedup, caption" in err and err.count("\n") == 1
    )
    assert program("status", "--missing", "--slurm", "--json", "-w", work)[0] == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"shards": 13', '"shards": 12', "was edited"),
        ('"n_failed": {}', '"n_failed": {"lost": 5}', "kept, rejected and failed"),
        ('"n_failed": {}', '"n_failed": 0', "not readable"),
        ("{", "", "not readable"),
        ('"format": 1', '"format": 2', "format 2"),
    ],
)
def test_an_edited_receipt_ends_with_five(work, program, old, new, words):
    path = work / "ingest/000003.receipt.json"
    path.write_text(path.read_text().replace(old, new, 1))
    for options in ((), ("--missing",), ("--missing", "--slurm")):
        code, out, err = program("status", *options, "-w", work)
        assert (code, out) == (5, "") and words in err and err.count("\n") == 1


def test_a_lost_file_or_another_input_is_to_do(tmp_path):
    run, stages = canned_run(tmp_path / "work")
    by_name = {stage.name: stage for stage in stages}
    assert all(shards_to_do(stage, run) == [] for stage in stages)
    os.unlink(tmp_path / "work/outpaint/000002.tar")
    (tmp_path / "work/propose/000001.receipt.json").unlink()
    assert shards_to_do(by_name["outpaint"], run) == [2]
    assert shards_to_do(by_name["refine/round-01"], run) == [1]  # what it was made from is not done
    assert shards_to_do(by_name["refine/round-02"], run) == [] and SHARDS == 3


def test_failed_samples_are_named_by_their_file(work, program):
    code, out, _ = program("status", "--failed", "-w", work)
    assert (code, out) == (0, "")


def test_a_refused_command_leaves_nothing_behind(program, tmp_path):
    for command in ("train", "eval", "report"):
        code, _, said = program(command, "-w", tmp_path / "none", "--quiet")
        assert code == 2 and said.count("\n") == 1, said
    assert not (tmp_path / "none").exists()
