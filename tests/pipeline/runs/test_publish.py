"""A writer that sleeps, loses its lock and wakes replaces nothing; what died before its receipt is in nobody's way."""

from contextlib import ExitStack
from threading import Event, Thread

import pytest

from pipeline.core.errors import HeldError, RefusedError
from pipeline.engine import shard_commit
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.publish import Publisher
from pipeline.storage.base import describe
from pipeline.storage.locks import LOCK_TIMING, Lock, shard_lock
from pipeline.storage.open_store import open_store
from tests.faults.poison import Poisoned, run_in


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return open_store(str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}")


def put(publisher, path, data, how, tmp_path):
    if how is bytes:
        return publisher.put(path, data, describe(data))
    (tmp_path / "made").write_bytes(data)
    return publisher.put(path, tmp_path / "made", describe(data))


@pytest.mark.parametrize("how", [bytes, open])
def test_names_are_created_never_replaced(store, tmp_path, how):
    with shard_lock(store, "x", 0) as lock:
        publisher = Publisher(store, lock, "x/000000.receipt.json")
        put(publisher, "x/a.tar", b"one", how, tmp_path)
        put(publisher, "x/a.tar", b"one", how, tmp_path)  # an attempt that died, with the same bytes
        put(publisher, "x/a.tar", b"two", how, tmp_path)  # one with others, and no receipt
        assert store.read("x/a.tar") == b"two"
        store.write("x/000000.receipt.json", b"{}")
        with pytest.raises(HeldError, match="committed by another process"):
            put(publisher, "x/a.tar", b"six", how, tmp_path)
        assert store.read("x/a.tar") == b"two"


@pytest.mark.parametrize("how", [bytes, open])
def test_an_owner_that_wakes_replaces_nothing(store, tmp_path, how):
    with ExitStack() as stack:
        first = Lock(store, "locks/x-000000.json", LOCK_TIMING)
        store.create(first.path, first.body())
        sleeper = Publisher(store, first, "x/000000.receipt.json")
        store.remove(first.path)  # taken for dead
        second = stack.enter_context(shard_lock(store, "x", 0))
        put(Publisher(store, second, "x/000000.receipt.json"), "x/a.tar", b"two", how, tmp_path)
        with pytest.raises(RefusedError, match="taken over"):
            put(sleeper, "x/a.tar", b"one", how, tmp_path)
        with pytest.raises(RefusedError, match="taken over"):
            sleeper.withdraw()
        assert store.read("x/a.tar") == b"two"


class Other(Poisoned):
    """The same shard with other bytes, as of a newer recipe."""

    version = 2


def test_files_under_a_receipt_stay_when_a_sleeper_wakes(tmp_path, monkeypatch):
    """A sleeps after its last look at the lock; B takes over and commits; A wakes: B's files and receipt are as they were."""
    run, asleep, wake = run_in(tmp_path / "work"), Event(), Event()
    finished = shard_commit.finished_files

    def slow(stage, shard, rows, journal):
        if stage.version == 1:
            asleep.set()
            wake.wait(30)
        return finished(stage, shard, rows, journal)

    monkeypatch.setattr(shard_commit, "finished_files", slow)
    ended = []

    def sleeper():
        try:
            ended.append(run_shard(Poisoned(images=True), run, 0, Control()))
        except RefusedError as error:
            ended.append(error)

    thread = Thread(target=sleeper)
    thread.start()
    assert asleep.wait(30)
    (lock,) = run.store.names("locks")
    run.store.remove(f"locks/{lock}")  # its heartbeat stopped long ago
    receipt = run_shard(Other(images=True), run, 0, Control())
    before = {path: run.store.read(path) for path in receipt.outputs}
    wake.set()
    thread.join(30)
    assert isinstance(ended[0], RefusedError) and run.receipt("poisoned", 0) == receipt
    assert {path: run.store.read(path) for path in receipt.outputs} == before
    assert all(describe(data) == receipt.outputs[path] for path, data in before.items())
