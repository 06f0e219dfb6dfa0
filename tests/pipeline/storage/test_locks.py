"""Locks: one holder, and the dead do not hold."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.core.errors import RefusedError
from pipeline.storage import locks
from pipeline.storage.local import LocalStore
from pipeline.storage.locks import LOCK_TIMING, shard_lock
from pipeline.storage.open_store import open_store

PATH = "locks/refine-round-01-000002.json"
QUICK = replace(LOCK_TIMING, heartbeat=0.05, stale=120.0, watch=0.4, timeout=0.2, settle=0.05)


def lock(store, pace=QUICK):
    return shard_lock(store, "refine/round-01", 2, pace)


def put(store, **about):
    store.write(PATH, json.dumps({"host": socket.gethostname(), "pid": 1, "beat": time.time(), **about}).encode())


def holder(store):
    return json.loads(store.read(PATH))


def gone():
    """Number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_held_while_inside_and_gone_after(tmp_path):
    store = LocalStore(tmp_path)
    with lock(store):
        assert holder(store)["pid"] == os.getpid()
    assert not store.exists(PATH) and os.listdir(tmp_path / "locks") == []


def test_released_when_the_work_fails(tmp_path):
    store = LocalStore(tmp_path)
    with pytest.raises(ZeroDivisionError), lock(store):
        raise ZeroDivisionError
    assert not store.exists(PATH)


def test_a_live_holder_is_named(tmp_path):
    store = LocalStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        put(store, pid=other.pid, beat=0)  # of this machine: the process counts, not the clock
        with pytest.raises(RefusedError, match=f"held by process {other.pid} on {socket.gethostname()}"), lock(store):
            pass
        other.kill()
        other.wait()
        with lock(store):
            assert holder(store)["pid"] == os.getpid()


def test_a_second_thread_of_this_process_is_refused(tmp_path):
    store = LocalStore(tmp_path)
    with lock(store), pytest.raises(RefusedError, match=f"held by process {os.getpid()}"), lock(store):
        pass


def test_a_zombie_and_a_recycled_process_number_do_not_hold(tmp_path):
    store = LocalStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has reaped it
        put(store, pid=process.pid)
        with lock(store):
            pass
    put(store, pid=os.getppid(), started="1")  # alive, but begun at another time than the lock's owner
    with lock(store):
        pass


@pytest.mark.parametrize(("age", "stale"), [(0, False), (LOCK_TIMING.stale * 2, True), (-3600, True)])
def test_elsewhere_only_the_heartbeat_counts(tmp_path, age, stale):
    store = LocalStore(tmp_path)
    put(store, host="elsewhere", beat=time.time() - age)
    if stale:  # also one from the future: a clock that was put right must not keep a dead owner's lock for ever
        with lock(store):
            assert holder(store)["host"] == socket.gethostname()
    else:
        with pytest.raises(RefusedError, match=r"elsewhere.*120 s after its last heartbeat"), lock(store):
            pass


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumps_does_not_age_a_living_lock(tmp_path, jump):
    """Whichever clock jumped, ours or the owner's: an owner with a new heartbeat at each look is alive."""

    class LivingOwner(LocalStore):
        """Before each of the first reads the owner, on another machine, sends a heartbeat; then it is dead."""

        reads = 0

        def read(self, path):
            self.reads += 1
            if self.reads <= 6:
                put(self, host="elsewhere", token="other", beat=time.time() + self.reads)
            return super().read(path)

    store = LivingOwner(tmp_path)
    put(store, host="elsewhere", token="other")
    with lock(store, replace(QUICK, watch=0.3, now=lambda: time.time() + jump)):  # six reads take over a second
        assert store.reads > 6 and holder(store)["host"] == socket.gethostname()


RACE = """
import sys, time
from dataclasses import replace
from pathlib import Path
from pipeline.core.errors import RefusedError
from pipeline.storage.locks import LOCK_TIMING, shard_lock
from pipeline.storage.local import LocalStore
root, rounds = Path(sys.argv[1]), int(sys.argv[2])
pace = replace(LOCK_TIMING, timeout=0.0)
for number in range(rounds):
    while not (root / f"go-{number}").exists():
        pass
    try:
        with shard_lock(LocalStore(root), f"stage{number}", 0, pace):
            came = time.monotonic()
            time.sleep(0.03)
            (root / f"inside-{number}-{sys.argv[3]}").write_text(f"{came} {time.monotonic()}")
    except RefusedError:
        pass
    (root / f"done-{number}-{sys.argv[3]}").touch()
"""


def test_of_many_who_see_the_same_stale_lock_one_gets_it(tmp_path):
    """Racing processes find the lock of a dead one, twelve times; no two are ever inside together."""
    rounds, racers, dead = 12, 3, gone()
    store = LocalStore(tmp_path)
    (tmp_path / "race.py").write_text(RACE)
    for number in range(rounds):
        body = {"host": socket.gethostname(), "pid": dead, "beat": 0}
        store.write(f"locks/stage{number}-000000.json", json.dumps(body).encode())
    processes = [
        subprocess.Popen([sys.executable, tmp_path / "race.py", tmp_path, str(rounds), str(name)])
        for name in range(racers)
    ]
    for number in range(rounds):
        (tmp_path / f"go-{number}").touch()
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob(f"done-{number}-*"))) < racers and time.monotonic() < deadline:
            time.sleep(0.005)
    assert [process.wait(60) for process in processes] == [0] * racers
    for number in range(rounds):
        stays = sorted(tuple(map(float, p.read_text().split())) for p in tmp_path.glob(f"inside-{number}-*"))
        assert stays and all(left <= came for (_, left), (came, _) in pairwise(stays))
    assert os.listdir(tmp_path / "locks") == []


def test_two_never_hold_one_lock_at_a_time(tmp_path):
    """Threads take and release one lock, over and over, each time from a stale one."""
    store, inside, worst = LocalStore(tmp_path), [], []
    pace = replace(QUICK, timeout=30.0)

    def work(number):
        for _ in range(6):
            with lock(store, pace):
                inside.append(number)
                worst.append(len(inside))
                time.sleep(0.002)
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert max(worst) == 1 and len(worst) == 24


def test_a_lock_taken_over_is_neither_renewed_nor_removed(tmp_path):
    store = LocalStore(tmp_path)
    with lock(store) as mine:
        mine.check()
        put(store, host="elsewhere", token="other")
        deadline = time.monotonic() + 60
        while not mine.lost and time.monotonic() < deadline:  # until our heartbeat has met the other owner
            time.sleep(0.02)
        assert mine.lost
        assert holder(store)["token"] == "other"
        with pytest.raises(RefusedError, match="taken over by process 1 on elsewhere"):
            mine.check()
    assert holder(store)["token"] == "other"


def test_the_heart_beats(tmp_path):
    store = LocalStore(tmp_path)
    with lock(store):
        first = holder(store)["beat"]
        deadline = time.monotonic() + 10
        while holder(store)["beat"] == first and time.monotonic() < deadline:
            time.sleep(0.02)
        assert holder(store)["beat"] > first


def test_without_a_guard_the_last_writer_has_a_stale_lock(tmp_path):
    store = open_store(f"memory://{tmp_path.name}")
    put(store, pid=gone())
    with lock(store) as mine:
        mine.check()
    assert not store.exists(PATH)


def test_an_owner_hidden_by_proc_is_alive(tmp_path, monkeypatch):
    """With hidepid=2 the files of another user's process are not there, though the process is."""
    monkeypatch.setattr(locks, "_started", lambda pid: "12345" if pid == os.getpid() else "")
    holder = {"host": socket.gethostname(), "pid": os.getppid(), "place": locks._place(), "started": "99", "token": "t"}
    assert not locks._is_dead(holder)
    monkeypatch.setattr(locks, "_alive", lambda pid: False)
    assert locks._is_dead(holder)
