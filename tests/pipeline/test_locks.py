"""Locks: one holder, and the dead do not hold."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from pipeline import locks
from pipeline.errors import RefusedError
from pipeline.storage import LocalStore

PATH = "locks/refine-round-01-000002.json"


def test_held_while_inside_and_gone_after(tmp_path):
    store = LocalStore(tmp_path)
    with locks.shard_lock(store, "refine/round-01", 2):
        assert json.loads(store.read(PATH))["pid"] == os.getpid()
    assert not store.exists(PATH)


def test_released_when_the_work_fails(tmp_path):
    store = LocalStore(tmp_path)
    with pytest.raises(ZeroDivisionError), locks.shard_lock(store, "refine/round-01", 2):
        raise ZeroDivisionError
    assert not store.exists(PATH)


def test_a_live_holder_is_named(tmp_path):
    store = LocalStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as other:
        store.write(PATH, json.dumps({"host": socket.gethostname(), "pid": other.pid, "beat": 0}).encode())
        with (
            pytest.raises(RefusedError, match=f"held by process {other.pid}"),
            locks.shard_lock(store, "refine/round-01", 2),
        ):
            pass
        other.kill()
        other.wait()
        with locks.shard_lock(store, "refine/round-01", 2):
            assert json.loads(store.read(PATH))["pid"] == os.getpid()


@pytest.mark.parametrize(("age", "stale"), [(0, False), (locks.STALE_S * 2, True), (-3600, False)])
def test_elsewhere_only_the_heartbeat_counts(tmp_path, age, stale, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    store = LocalStore(tmp_path)
    store.write(PATH, json.dumps({"host": "elsewhere", "pid": 1, "beat": time.time() - age}).encode())
    if stale:
        with locks.shard_lock(store, "refine/round-01", 2):
            assert json.loads(store.read(PATH))["host"] == socket.gethostname()
    else:
        with pytest.raises(RefusedError, match="elsewhere"), locks.shard_lock(store, "refine/round-01", 2):
            pass
