"""Reaching a Ray cluster: every way that it fails is one line, soon."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core.actor_resources import ActorResources
from pipeline.core.errors import UsageError

pytest.importorskip("ray")

from pipeline.engine.executors.ray import cluster
from pipeline.engine.executors.ray.cluster import actors_that_fit, connect_ray

ROOT = Path(__file__).resolve().parents[5]
LONGEST_S = 60  # on a busy machine; Ray itself tries for two minutes and then ends the process


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", "ray://127.0.0.1:10001"])
def test_an_address_without_a_cluster_is_one_line(address):
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        connect_ray(address, 1)
    assert address in str(caught.value) and "\n" not in str(caught.value) and time.monotonic() - started < LONGEST_S


def test_a_port_that_does_not_answer_is_given_up_in_time(monkeypatch):
    assert cluster.ANSWER_S < 15
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(UsageError, match="no Ray cluster answers there"):
            connect_ray(f"127.0.0.1:{silent.getsockname()[1]}", 1)
        assert time.monotonic() - started < LONGEST_S


def test_how_many_actors_a_cluster_has_room_for():
    total = {"CPU": 8.0, "GPU": 2.0, "memory": 100.0}
    assert actors_that_fit(ActorResources().as_amounts(), total) == 8
    assert actors_that_fit(ActorResources(num_gpus=0.5).as_amounts(), total) == 4
    assert actors_that_fit(ActorResources(memory=60).as_amounts(), total) == 1
    assert (
        actors_that_fit(ActorResources(custom={"a100": 1}).as_amounts(), total) == 1
    )  # asked for even so: clusters grow
    assert actors_that_fit(ActorResources(num_cpus=0).as_amounts(), total) == 8


def test_without_ray_installed_the_command_names_the_extra(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from pipeline.cli.app import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", code, "ingest", "--executor", "ray", "--work", str(tmp_path / "work")],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert told.returncode == 2 and told.stderr == (
        "error: --executor ray needs Ray, which is not installed: pip install 'procrop-data[ray]'\n"
    )
