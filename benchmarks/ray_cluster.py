"""A Ray cluster of several nodes on this machine: its overhead over local workers, its start, what it keeps in memory; and kills.

    procrop-data bench ray

A stage that sleeps ten seconds a shard runs on two local workers and on two actors, in turn. Then a small whole run with
stand-in models is disturbed at random moments: a node, an actor or the command itself is killed. It must end (a killed
command is started again) with every byte as the local executor makes it, no row lost and none twice.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
import ray
from ray._private import ray_constants
from ray._private.internal_api import memory_summary
from ray._private.node import Node
from ray.cluster_utils import Cluster

from benchmarks.fault_run import run_all as run_locally
from benchmarks.harness import alternate, finish, result, versions
from benchmarks.kill_tally import Tally, reference_of, say
from benchmarks.ray_run import Sleeper
from benchmarks.stand_ins import make_photos
from pipeline.core.actor_resources import ActorResources
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.executors.ray.cluster import NICENESS, STORE_BYTES, connect_ray
from pipeline.engine.executors.ray.executor import RayExecutor
from pipeline.engine.ready_shards import ReadyShards
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, WORKERS = 8, 2
LONGEST_S = 300.0
TOO_SLOW = (
    "timed out during startup"  # what Ray says of a node that has not come up in half a minute, which cannot be set
)
STARTS = 5
NODE, ACTOR, DRIVER = "node", "actor", "driver"


T = TypeVar("T")


def start_again_when_slow(start: Callable[[], T], tries: int = STARTS) -> T:
    """What ``start`` gives. A node that a busy machine brings up too slowly for Ray is killed and started again."""
    before = set(psutil.Process().children())
    try:
        return start()
    except Exception as error:
        if TOO_SLOW not in str(error) or tries == 1:
            raise
    _kill([process for process in psutil.Process().children() if process not in before])
    return start_again_when_slow(start, tries - 1)


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kill them and their children, and wait for their end."""
    killed = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            killed += [*process.children(recursive=True), process]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=LONGEST_S)


class Nodes:
    """A head with one core, and ``others`` more nodes with one each, which can be killed and replaced."""

    def __init__(self, others: int = 1, *, dashboard: bool = False) -> None:
        os.environ["PYTHONPATH"] = str(ROOT)  # the nodes' workers import stages from here
        os.environ[NICENESS] = "0"  # workers must not yield to those that they are compared with
        node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self._node = node
        self.most_mib = 0.0
        head = {
            **node,
            "include_dashboard": dashboard,
            "dashboard_port": None,  # a free port from 8265 on
            "dashboard_agent_listen_port": None,  # any free port: a second head of this machine gets no agent at Ray's 52365
        }
        ray_constants.RAY_DASHBOARD_STARTUP_TIMEOUT_S = int(LONGEST_S)
        self.cluster = start_again_when_slow(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.others = [self._add() for _ in range(others)]

    def _add(self) -> Node:
        return start_again_when_slow(lambda: self.cluster.add_node(**self._node))

    @property
    def address(self) -> str:
        """Where the head listens."""
        return str(self.cluster.address)

    @property
    def dashboard(self) -> str:
        """Where the head takes jobs and shows itself."""
        return f"http://{self.cluster.webui_url}"

    def kill_one(self) -> None:
        """Kill a node and all that runs on it."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)

    def replace(self) -> None:
        """As many nodes as at first."""
        if not self.others:
            self.others.append(self._add())

    def look_at_stores(self) -> None:
        """Note in ``most_mib`` what all object stores hold together now."""
        summary = memory_summary(self.address, stats_only=True)
        found = re.search(r"Plasma memory usage ([\d.]+) MiB", summary)
        if not found:
            raise RuntimeError(f"Ray does not report what its object stores hold: {summary!r}")
        self.most_mib = max(self.most_mib, float(found.group(1)))


def naps(work: Path, shards: int, seconds: float) -> tuple[Run, Sleeper]:
    """An empty run directory for the stage that sleeps."""
    shutil.rmtree(work, ignore_errors=True)
    store = open_store(str(work))
    return Run(store, freeze_plan(store, Plan("naps", 0, shards))), Sleeper(seconds)


def local_seconds(work: Path, shards: int, seconds: float) -> float:
    """From the first word to the last receipt, on local workers."""
    run, stage = naps(work, shards, seconds)
    started = time.perf_counter()
    with LocalExecutor(run, [stage], workers=WORKERS, on_event=lambda event: None) as executor:
        assert len(list(executor.map(stage, range(shards)))) == shards
    return time.perf_counter() - started


def ray_seconds(work: Path, shards: int, seconds: float) -> float:
    """The same on actors of the cluster that is joined."""
    run, stage = naps(work, shards, seconds)
    started = time.perf_counter()
    with RayExecutor(run, [stage], resources={stage.name: ActorResources()}, on_event=lambda event: None) as executor:
        work_left = ReadyShards([stage], lambda stage: range(shards), lambda stage, shard: False)
        assert len(list(executor.map_ready(work_left))) == shards
    return time.perf_counter() - started


def start_up(work: Path, address: str) -> float:
    """Seconds from joining a cluster to the first receipt of a stage that takes no time."""
    started = time.perf_counter()
    connect_ray(address, WORKERS)
    ray_seconds(work, 1, 0.0)
    return time.perf_counter() - started


def rehearse(home: Path, nodes: Nodes, trials: int, seed: int) -> Tally:
    """Disturb runs, each once, until ``trials`` kills were made."""
    source, draw, tally = home / "photos", random.Random(seed), Tally({NODE: 0, ACTOR: 0, DRIVER: 0})
    make_photos(source, PHOTOS, (320, 240))
    run_locally(source, home / "undisturbed")
    undisturbed = reference_of(source, home / "undisturbed")
    started = time.monotonic()
    tally.unended += _start(source, home / "calm", nodes).wait(LONGEST_S) != 0
    tally.length = time.monotonic() - started
    tally.compare(source, home / "calm", undisturbed)
    while tally.total < trials and tally.runs < 2 * trials:  # a run may end before its kill
        kind = (NODE, ACTOR, DRIVER)[tally.runs % 3]
        work, begun = home / f"run-{tally.runs:03d}", time.monotonic()
        if _disturbed(source, work, nodes, kind, draw, tally):
            tally.compare(source, work, undisturbed)
        else:
            tally.unended += 1
        tally.seconds.append(time.monotonic() - begun)
        shutil.rmtree(work)
        tally.runs += 1
        say(f"{tally.total} of {trials} kills ({kind}): {tally}")
    return tally


def _disturbed(source: Path, work: Path, nodes: Nodes, kind: str, draw: random.Random, tally: Tally) -> bool:
    """One run with one kill; whether it ended well."""
    process = _start(source, work, nodes)
    try:
        process.wait(draw.uniform(0.1, 0.9) * tally.length)
    except subprocess.TimeoutExpired:
        nodes.look_at_stores()
        tally.kills[kind] += _strike(process, nodes, kind, draw)
    code = process.wait(LONGEST_S)
    nodes.replace()
    if code == -signal.SIGKILL:
        code = _start(source, work, nodes).wait(LONGEST_S)
    return code == 0


def _strike(process: subprocess.Popen[bytes], nodes: Nodes, kind: str, draw: random.Random) -> int:
    if kind == NODE:
        nodes.kill_one()
        return 1
    if kind == DRIVER:
        os.kill(process.pid, signal.SIGKILL)
        return 1
    actors = [p for p in psutil.process_iter(["cmdline"]) if "ray::ShardActor" in " ".join(p.info["cmdline"] or [])]
    if not actors:
        return 0
    draw.choice(actors).kill()
    return 1


def _start(source: Path, work: Path, nodes: Nodes) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.ray_run", str(source), str(work), nodes.address]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench ray", description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="kills")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=10.0, help="a shard of the stage that sleeps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(list(arguments))
    nodes = Nodes()
    try:
        with tempfile.TemporaryDirectory(prefix="procrop-ray-") as folder:
            home = Path(folder)
            first = start_up(home / "start", nodes.address)
            figures = alternate(
                {
                    "ours": lambda: ray_seconds(home / "naps", options.shards, options.seconds),
                    "local executor": lambda: local_seconds(home / "naps", options.shards, options.seconds),
                },
                options.rounds,
                warm_up=0,
            )
            nodes.look_at_stores()
            ray.shutdown()
            tally = rehearse(home, nodes, options.trials, options.seed)
    finally:
        ray.shutdown()
        nodes.cluster.shutdown()
    over = [a / b - 1 for a, b in zip(figures["ours"], figures["local executor"], strict=True)]
    finish(
        result(
            "ray", f"s for {options.shards} shards of {options.seconds:g} s", figures, higher_is_better=False,
            env={"nodes": 1 + len(nodes.others), "cores a node": 1, **versions("ray")},
            overhead_percent=round(100 * statistics.median(over), 2), start_up_seconds=round(first, 2),
            object_store_mib=nodes.most_mib, kills=tally.kills, lost=tally.lost, doubled=tally.doubled,
            different_files=tally.different, unended=tally.unended, digests_equal=tally.clean,
            undisturbed_seconds=round(tally.length, 1), disturbed_seconds=round(statistics.median(tally.seconds or [0]), 1),
        )
    )  # fmt: skip
    if not tally.clean:
        sys.exit(1)
