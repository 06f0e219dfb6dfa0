"""Random kills of a whole run, as ``bench faults`` makes more of, and signals that end one well."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.fault_kills import rehearse
from benchmarks.fault_run import digests
from benchmarks.stand_ins import make_photos

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_kills_at_random_moments_change_no_byte(tmp_path):
    tally = rehearse(tmp_path, kills=3, seed=int.from_bytes(os.urandom(4)), minutes=1)
    assert (tally.lost, tally.doubled, tally.different, tally.unended) == (0, 0, 0, 0)
    assert tally.runs > 0


SLEEPER = """
import sys, time
from pathlib import Path
from tests.faults.poison import Poisoned, do
class Slow(Poisoned):
    def run(self, tasks, shard):
        (Path(sys.argv[-1]).parent / "begun").touch()
        time.sleep(0.3)
        return super().run(tasks, shard)
if __name__ == "__main__":
    from pipeline.core.errors import ProcropError
    try:
        do(Slow(images=True, samples=2000), Path(sys.argv[-1]))  # over a minute of work, if no signal comes
    except ProcropError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


def signals_pending(pid):
    """Whether a signal was sent to the process that it has not received yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) for mask in re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)", status, flags=re.M))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_end_the_run_with_130_and_keep_what_is_done(tmp_path, number):
    script, work = tmp_path / "slow.py", tmp_path / "work"
    script.write_text(SLEEPER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, work]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)  # to the whole group, as Ctrl-C and a batch system do
    while signals_pending(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.strip().endswith("run the same command to go on")
    assert "Traceback" not in errors and os.listdir(work / "locks") == []
    journals = list((work / "poisoned/journal").glob("*.jsonl"))
    assert journals and any(len(path.read_bytes().splitlines()) > 1 for path in journals)


@pytest.mark.long
def test_two_runs_at_once_end_well_or_one_names_the_other(tmp_path):
    source = tmp_path / "photos"
    make_photos(source, 5, (320, 240))

    def start(work):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.fault_run", source, work]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)

    def end(process):
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors

    both = [start(tmp_path / "work"), start(tmp_path / "work")]
    ends = [end(process) for process in both]
    for code, errors in ends:
        assert code == 0 or (code == 4 and ("held by process" in errors or "at the same time" in errors)), errors
    assert (0, "") in ends or end(start(tmp_path / "work")) == (0, "")
    assert end(start(tmp_path / "single")) == (0, "")
    assert digests(tmp_path / "work") == digests(tmp_path / "single")
