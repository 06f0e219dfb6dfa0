"""Each worker process computes with one thread, and its threads wait passively unless the user chose otherwise."""

import pytest

from pipeline.engine.executors.worker_environment import THREAD_COUNTS, worker_environment
from pipeline.shards import parquet
from tests.faults.poison import do
from tests.thread_stage import CountThreads


@pytest.fixture
def environment(monkeypatch):
    """The process environment without thread settings, restored afterwards: the executor changes it."""
    for name in (*THREAD_COUNTS, "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "set, so that it is restored")
        monkeypatch.delenv(name)
    return monkeypatch


def test_one_thread_that_waits_passively_by_default():
    assert worker_environment({}) == {**dict.fromkeys(THREAD_COUNTS, "1"), "OMP_WAIT_POLICY": "PASSIVE"}


def test_wait_policy_of_the_user_is_kept():
    environment = worker_environment({"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "16"})
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE" and environment["OMP_NUM_THREADS"] == "1"


def test_two_local_workers_compute_with_a_thread_each(tmp_path, environment):
    environment.setenv("OMP_NUM_THREADS", "2")
    do(CountThreads(), tmp_path)
    rows = [
        row
        for shard in (0, 1)
        for row in parquet.decode((tmp_path / f"count-threads/{shard:06d}.parquet").read_bytes())
    ]
    assert len({row["worker"] for row in rows}) == 2
    assert [(row["torch_threads"], row["wait_policy"]) for row in rows] == [(1, "PASSIVE")] * 2
