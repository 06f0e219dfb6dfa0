"""Kill a run at random moments, over and over, until it is done: nothing lost, nothing doubled, every byte as undisturbed.

``kill -9`` of the whole process group, of one worker alone, or SIGTERM, after a random time over the length of a run. A run
that was killed is started again, and killed again, up to five times; then it is left to end, and compared.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.kill_tally import Tally, reference_of, say
from benchmarks.stand_ins import make_photos

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = 8
KILLS_A_RUN = 5
LONGEST_S = 300.0
GROUP, WORKER, TERM = "group", "worker", "term"


def rehearse(home: Path, kills: int, seed: int, minutes: float) -> Tally:
    """Kill until ``kills`` of them have hit a living run, or the time is over."""
    source, draw, tally = home / "photos", random.Random(seed), Tally({GROUP: 0, WORKER: 0, TERM: 0})
    make_photos(source, PHOTOS, (320, 240))
    started = time.monotonic()
    if _start(source, home / "undisturbed").wait(LONGEST_S) != 0:
        raise RuntimeError("the undisturbed run failed")
    tally.length = time.monotonic() - started
    undisturbed = reference_of(source, home / "undisturbed")
    say(f"undisturbed: {tally.length:.1f} s, {len(undisturbed[0])} files, {sum(undisturbed[1].values())} rows")
    while tally.total < kills and time.monotonic() - started < minutes * 60:
        work = home / f"run-{tally.runs:04d}"
        begun = time.monotonic()
        ended = _harass(source, work, min(KILLS_A_RUN, kills - tally.total), draw, tally)
        tally.seconds.append(time.monotonic() - begun)
        tally.runs += 1
        if not ended:
            tally.unended += 1
            say(f"run {tally.runs} did not end: see {shutil.copytree(work, tempfile.mkdtemp() + '/work')}")
        else:
            tally.compare(source, work, undisturbed)
        shutil.rmtree(work)
        say(f"{tally.total} of {kills} kills, {tally.runs} runs: lost {tally.lost}, doubled {tally.doubled}, "
            f"different files {tally.different}")  # fmt: skip
    return tally


def _harass(source: Path, work: Path, kills: int, draw: random.Random, tally: Tally) -> bool:
    """One run, killed and started anew until it is done; whether it ended well."""
    for number in range(kills):
        process, started = _start(source, work), time.monotonic()
        kind = draw.choice((GROUP, GROUP, WORKER, TERM))
        try:
            process.wait(draw.uniform(0, tally.length))
        except subprocess.TimeoutExpired:
            tally.kills[kind] += _strike(process, kind)
        # After a worker's death the run must end by itself; after SIGTERM, with 130 and soon.
        code = process.wait(LONGEST_S)
        if code == 0:
            if number == 0:
                tally.length = time.monotonic() - started  # on a shared machine a run takes now this long, now that
            return True
        if code not in (130, -signal.SIGKILL, -signal.SIGTERM):
            return False
    return _start(source, work).wait(LONGEST_S) == 0


def _strike(process: subprocess.Popen[bytes], kind: str) -> int:
    """How many kills that was: 0 when there was nothing left to kill."""
    if kind == GROUP:
        os.killpg(process.pid, signal.SIGKILL)
        return 1
    if kind == TERM:
        process.send_signal(signal.SIGTERM)
        return 1
    try:
        workers = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        random.Random(process.pid).choice(workers).kill()
    except (psutil.Error, IndexError):
        return 0
    return 1


def _start(source: Path, work: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.fault_run", str(source), str(work)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, start_new_session=True, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
