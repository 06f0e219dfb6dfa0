"""Array jobs with real processes: a whole run by two tasks, the ready scripts of examples/, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.fault_run import digests, run_all
from benchmarks.stand_ins import make_photos
from pipeline.cli.app import main
from pipeline.core.errors import HeldError, RefusedError
from pipeline.engine.array_share import ArrayShare
from pipeline.engine.executors.array import at_work, lock_when_free
from pipeline.storage.locks import LockTiming, shard_lock
from pipeline.storage.open_store import open_store

ROOT = Path(__file__).resolve().parents[4]
SBATCH = ROOT / "examples/slurm/run.sbatch"
JOB = ROOT / "examples/kubernetes/job.yaml"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "JOB_", "PROCROP_"))}

TASK = """
import os, sys
from pathlib import Path
from benchmarks.fault_run import session_for
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.engine.executors.array import ArrayTask, at_work, once
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.runner import Options
from pipeline.engine.array_share import share_from_environment, waiting_time
if __name__ == "__main__":
    session, display = session_for(Path(sys.argv[1]), Path(sys.argv[2])), Display(quiet=True)
    share = share_from_environment(os.environ)
    with at_work(session.run.store, share):
        with once(session.run.store, "prepare"):
            refresh_sources(session, display)
        with LocalExecutor(session.run, session.stages, workers=1, on_event=display.on_event) as executor:
            task = ArrayTask(session.run, executor, share, watcher=display, wait=waiting_time(os.environ))
            print(task.do(session.stages, Options(), session.stages).waits_for)
"""


def slurm(index, ids):
    told = {"TASK_ID": index, "TASK_MIN": min(ids), "TASK_MAX": max(ids), "TASK_COUNT": len(ids), "JOB_ID": 77}
    return {f"SLURM_ARRAY_{name}": str(value) for name, value in told.items()}


def start(command, **environment):
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**CLEAN, "PYTHONPATH": str(ROOT), **environment}, start_new_session=True,
    )  # fmt: skip


def end(process):
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


@pytest.mark.long
def test_two_tasks_make_the_whole_run_with_the_same_bytes(tmp_path):
    make_photos(tmp_path / "photos", 6, (320, 240))
    (tmp_path / "task.py").write_text(TASK)
    command = (sys.executable, tmp_path / "task.py", tmp_path / "photos", tmp_path / "work")
    # The first alone comes as far as the stage that must see all shards, says so, and its share is done.
    code, out, err = end(start(command, **slurm(0, [0, 1])))
    assert code == 0 and "filter needs all of outpaint: 1 of 2 shards are done" in out, err
    tasks = [start(command, **slurm(index, [0, 1]), PROCROP_ARRAY_WAIT="120") for index in (0, 1)]
    assert [end(task)[:2] for task in tasks] == [(0, "\n"), (0, "\n")]
    run_all(tmp_path / "photos", tmp_path / "local")
    assert digests(tmp_path / "work") == digests(tmp_path / "local")


@pytest.fixture
def program(monkeypatch, capsys):
    def call(*arguments, **environment):
        for name in [name for name in os.environ if name.startswith(("SLURM_", "JOB_", "PROCROP_"))]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        return stopped.value.code or 0, out.out, out.err

    return call


@pytest.fixture
def recipe(tmp_path):
    make_photos(tmp_path / "src", 6, (320, 240))
    path = tmp_path / "r.yaml"
    path.write_text(f"base: default\nname: small\nwork_shards: 4\ningest: {{source: '{tmp_path / 'src'}'}}\n")
    return path


def test_what_status_calls_missing_is_done_by_an_array_of_it(recipe, tmp_path, program):
    work = tmp_path / "work"
    told = ("--config", recipe, "--work", work, "--executor", "array", "--workers", 1)
    assert program("ingest", *told, **slurm(0, [0]))[0] == 0
    for shard in (1, 3):
        (work / f"ingest/{shard:06d}.receipt.json").unlink()
    expression = program("status", "--missing", "--slurm", "--stage", "ingest", "--work", work)[1].strip()
    assert expression == "1,3"
    for index in (1, 3):
        code, out, err = program("ingest", *told, "--json", **slurm(index, [1, 3]))
        assert code == 0 and json.loads(out)["stages"][0]["done_now"] == 1, err
    assert program("status", "--missing", "--slurm", "--stage", "ingest", "--work", work)[1] == "\n"


@pytest.mark.parametrize(
    ("options", "environment", "code", "words"),
    [
        ((), {}, 2, "no task of an array"),
        ((), slurm(4, range(6)), 2, "index 4 has nothing to do: there are 4 shards, 0-3; use --array=0-3"),
        ((), slurm(9, [2, 9]), 2, "index 9 has nothing to do"),
        (("--accept-change",), slurm(0, [0]), 2, "run the command once without --executor array"),
        (("--address", "auto"), slurm(0, [0]), 2, "--address belongs to --executor ray"),
    ],
)
def test_wrong_calls_are_one_line_and_leave_no_work(recipe, tmp_path, program, options, environment, code, words):
    told = ("--config", recipe, "--work", tmp_path / "work", "--executor", "array")
    assert program("ingest", *told, *options, **environment)[0] == code
    found = program("ingest", *told, *options, **environment)
    assert found[0] == code and words in found[2] and found[2].count("\n") == 1
    assert {path.name for path in (tmp_path / "work").glob("*")} <= {"plan.json"}


def test_arrays_that_divide_the_shards_differently_do_not_meet(tmp_path):
    store = open_store(str(tmp_path / "work"))
    with at_work(store, ArrayShare(0, 4)):
        with at_work(store, ArrayShare(1, 4)):
            assert len(store.names("locks")) == 2
        for other in (ArrayShare(1, 8), ArrayShare(1)):
            with (
                pytest.raises(RefusedError, match=r"another array job \(of-4\) is at work .* process"),
                at_work(store, other),
            ):
                raise AssertionError
        assert store.names("locks") == ["array-of-4-000000.json"]
    with at_work(store, ArrayShare(1, 8)):
        pass


def test_tasks_that_compute_differently_do_not_meet(tmp_path):
    store, ours = open_store(str(tmp_path / "work")), {"numpy": "2.4.6", "processor": "x86_64 avx2"}
    with at_work(store, ArrayShare(0, 4), ours):
        with at_work(store, ArrayShare(1, 4), {**ours, "model of embed: encoder": "a"}):
            pass
        with (
            pytest.raises(
                RefusedError, match=r"another task .* compute something else than this one \(numpy: 2\.4\.7 -> 2\.4\.6"
            ),
            at_work(store, ArrayShare(1, 4), {**ours, "numpy": "2.4.7"}),
        ):
            raise AssertionError
    with at_work(store, ArrayShare(1, 4), {**ours, "numpy": "2.4.7"}):
        pass  # nobody else is at work any more


def test_a_lock_is_waited_for_and_not_for_ever(tmp_path):
    store = open_store(str(tmp_path / "work"))

    def again():
        return lock_when_free(lambda: shard_lock(store, "array", "of-4-000000", LockTiming(timeout=0.1)), 0.2)

    with shard_lock(store, "array", "of-4-000000"), pytest.raises(HeldError, match="is held by process"), again():
        raise AssertionError
    with again():
        pass


SLOW = """
import os, sys, time
from pathlib import Path
from pipeline.core.errors import ProcropError
from pipeline.engine.executors.array import ArrayTask
from pipeline.engine.executors.local import LocalExecutor
from pipeline.app.progress import Display
from pipeline.engine.runner import Options
from pipeline.engine.array_share import share_from_environment
from tests.faults.poison import Poisoned, run_in
class Slow(Poisoned):
    def run(self, tasks, shard):
        (Path(sys.argv[1]) / "begun").touch()
        time.sleep(0.4 if os.environ.get("SLOW") else 0)  # a shard of 50 micro-batches lasts 20 s, if no signal comes
        return super().run(tasks, shard)
if __name__ == "__main__":
    run, stage = run_in(Path(sys.argv[1]) / "work"), Slow(images=True, samples=400)
    try:
        with LocalExecutor(run, [stage], workers=1, on_event=lambda event: None) as executor:
            share = share_from_environment(os.environ)
            ArrayTask(run, executor, share, watcher=Display(quiet=True), wait=0).do([stage], Options(), [stage])
    except ProcropError as error:
        sys.exit(error.exit_code)
"""


@pytest.mark.long
def test_the_slurm_script_requeues_an_interrupted_task(tmp_path):
    assert subprocess.run(["bash", "-n", SBATCH], check=False).returncode == 0
    lines = SBATCH.read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", lines, flags=re.M))
    assert options["array"] == "0-15" and options["signal"].startswith("B:USR1@") and "requeue" in options
    (tmp_path / "slow.py").write_text(SLOW)
    for name, line in (
        ("scontrol", f'echo "$@" >> {tmp_path}/requeued'),
        ("procrop", f"exec {sys.executable} {tmp_path}/slow.py {tmp_path}"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    place = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PROCROP_PROGRAM": str(tmp_path / "procrop")}
    task = start(("bash", SBATCH, "run"), **slurm(0, [0, 1]), **place, SLOW="1")
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(task.pid, signal.SIGUSR1)  # to the batch shell alone, as --signal=B:USR1 does
    assert end(task)[0] == 130 and (tmp_path / "requeued").read_text() == "requeue 77_0\n"
    (journal,) = (tmp_path / "work/poisoned/journal").glob("000000-*.jsonl")
    assert 2 <= len(journal.read_bytes().splitlines()) < 50 and os.listdir(tmp_path / "work/locks") == []
    for index in (0, 1):
        assert end(start(("bash", SBATCH, "run"), **slurm(index, [0, 1]), **place))[0] == 0
    done = sorted(path.name for path in (tmp_path / "work/poisoned").glob("*.receipt.json"))
    assert done == ["000000.receipt.json", "000001.receipt.json"] and not journal.exists()
    assert (tmp_path / "requeued").read_text().count("\n") == 1


@pytest.mark.long
def test_the_kubernetes_job_does_every_shard_once(recipe, tmp_path):
    spec = yaml.safe_load(JOB.read_text())["spec"]
    (pod,) = spec["template"]["spec"]["containers"]
    told = {entry["name"]: entry["value"] for entry in pod["env"]}
    assert spec["completionMode"] == "Indexed" and spec["template"]["spec"]["restartPolicy"] == "Never"
    assert int(told["PROCROP_ARRAY_COUNT"]) == spec["completions"] == spec["parallelism"]
    codes = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
    }  # fmt: skip
    assert codes == {130: "Ignore", 3: "FailIndex", 2: "FailJob", 5: "FailJob"}
    assert all(r["onExitCodes"]["containerName"] == pod["name"] for r in spec["podFailurePolicy"]["rules"][1:])
    here = {
        "procrop-data": str(Path(sys.executable).parent / "procrop-data"), "--config=default": f"--config={recipe}",
        "--work=/data/my-run": f"--work={tmp_path / 'work'}", "ingest.source=/data/photos": "--until=ingest",
    }  # fmt: skip
    command = [here.get(word, word) for word in pod["command"]]
    assert set(pod["command"]) - set(command) == set(here)
    pods = [
        start(command, **{**told, "PROCROP_ARRAY_COUNT": "2", "JOB_COMPLETION_INDEX": str(index)}) for index in (0, 1)
    ]
    ends = [end(process) for process in pods]
    assert [code for code, _, _ in ends] == [0, 0], ends
    receipts = sorted((tmp_path / "work/ingest").glob("*.receipt.json"))
    assert len(receipts) == 4 and sum(json.loads(path.read_text())["n_kept"] for path in receipts) == 6
