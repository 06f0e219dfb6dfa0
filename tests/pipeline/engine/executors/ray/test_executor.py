"""The Ray executor on one small cluster: two nodes of this machine, no dashboard, nothing beyond loopback.

Ray's own code leaves sockets, files and processes to the garbage collector and uses deprecated calls; those warnings, and no
others, are let pass here.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.core.actor_resources import ActorResources
from pipeline.core.errors import InterruptedRunError, ModelError, RefusedError
from pipeline.engine import environment_digest
from pipeline.engine.ready_shards import ReadyShards
from pipeline.shards import parquet
from tests.faults.poison import Poisoned, do, run_in
from tests.thread_stage import CountThreads

ray = pytest.importorskip("ray")

from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT  # noqa: E402

from benchmarks.fault_run import digests, keys_of, session_for  # noqa: E402
from benchmarks.fault_run import run_all as run_locally  # noqa: E402
from benchmarks.ray_cluster import TOO_SLOW, Nodes, start_again_when_slow  # noqa: E402
from benchmarks.stand_ins import make_photos  # noqa: E402
from pipeline.app.progress import Display  # noqa: E402
from pipeline.app.refresh_sources import refresh_sources  # noqa: E402
from pipeline.engine.executors.ray.cluster import NICENESS, connect_ray  # noqa: E402
from pipeline.engine.executors.ray.executor import RayExecutor  # noqa: E402
from pipeline.engine.runner import Options, run_stages  # noqa: E402

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
]
ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture(scope="module")
def taken_port():
    """The port of a head's agent for jobs, held by another cluster of this machine."""
    with socket.socket() as other:
        with suppress(OSError):  # another cluster of this machine holds it in fact
            other.bind(("", DEFAULT_DASHBOARD_AGENT_LISTEN_PORT))
        yield


@pytest.fixture(scope="module")
def nodes(taken_port):
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", NICENESS)}
    nodes = Nodes(dashboard=True)
    connect_ray(nodes.address, 2)
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The small whole run, by the local executor."""
    home = tmp_path_factory.mktemp("ray")
    make_photos(home / "photos", 4, (320, 240))
    run_locally(home / "photos", home / "work")
    return home


def on_ray(stage, work, *, shards=2, events=None, **needs):
    """Receipts by shard of a stage done on the cluster."""
    run = run_in(work, shards)
    tell = events.append if events is not None else lambda event: None
    with RayExecutor(run, [stage], resources={stage.name: ActorResources(**needs)}, on_event=tell) as executor:
        ready = ReadyShards([stage], lambda stage: range(shards), lambda stage, shard: False)
        return {receipt.shard: receipt for receipt in executor.map_ready(ready)}


def drive(source, work, nodes):
    command = [sys.executable, "-m", "benchmarks.ray_run", source, work, nodes.address]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(pattern, work, seconds=90):
    deadline = time.monotonic() + seconds
    while not list(Path(work).glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(Path(work).glob(pattern))


def is_living_actor(process):
    """A process that has ended and that its parent has not waited for yet (a zombie) is not one."""
    try:
        named = "ray::ShardActor" in " ".join(process.cmdline())
        return named and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def actors_end(seconds=120):
    """Whether no actor of this test's cluster is alive, now or soon: Ray ends their processes in its own time."""
    deadline = time.monotonic() + seconds
    while actors := [p for p in psutil.Process().children(recursive=True) if is_living_actor(p)]:
        if time.monotonic() > deadline:
            return False
        psutil.wait_procs(actors, timeout=0.2)
    return True


def test_two_ray_nodes_give_the_bytes_of_the_local_executor(nodes, undisturbed, tmp_path):
    session, display = session_for(undisturbed / "photos", tmp_path), Display(quiet=True)
    refresh_sources(session, display)
    stages, events = session.stages, []
    with RayExecutor(
        session.run, stages, resources={s.name: ActorResources() for s in stages}, on_event=events.append
    ) as executor:
        results = run_stages(stages, session.run, executor, watcher=display, chain=stages, options=Options())
    assert digests(tmp_path) == digests(undisturbed / "work")
    assert [(r.done_now, r.skipped) for r in results] == [(len(r.receipts), 0) for r in results]
    told = {
        stage.name: sum(e.kept + e.rejected + e.failed for e in events if e.stage == stage.name) for stage in stages
    }
    assert told == {result.stage: sum(receipt.n_in for receipt in result.receipts) for result in results}
    nodes.look_at_stores()
    assert nodes.most_mib < 1 and os.listdir(tmp_path / "locks") == []


def test_a_killed_node_and_command_lose_and_double_nothing(nodes, undisturbed, tmp_path):
    source, work = undisturbed / "photos", tmp_path / "work"
    process = drive(source, work, nodes)
    wait_for("ingest/*.receipt.json", work)
    nodes.kill_one()
    wait_for("outpaint/*.receipt.json", work)
    process.kill()
    process.communicate()
    nodes.replace()
    process = drive(source, work, nodes)
    assert (process.communicate(timeout=240)[1], process.returncode) == ("", 0)
    assert digests(work) == digests(undisturbed / "work")
    assert keys_of(source, work) == keys_of(source, undisturbed / "work")


class Slow(Poisoned):
    """Notes its process in ``folder``, then takes ``seconds`` a micro-batch, or less once the file ``go`` is there."""

    def __init__(self, folder, seconds, samples):
        super().__init__(images=True, samples=samples)
        self.folder, self.seconds = Path(folder), seconds

    def run(self, tasks, shard):
        (self.folder / f"{os.getpid()}").touch()
        deadline = time.monotonic() + self.seconds
        while not (self.folder / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return super().run(tasks, shard)


def next_process(folder, known, seconds=120):
    """Number of a process that has noted itself and is not among the ``known`` ones."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in folder.iterdir():
            if path.name not in known:
                return int(path.name)
        time.sleep(0.02)
    raise TimeoutError(f"no process but {known} has begun")


def test_an_actor_that_is_killed_or_wanted_back_costs_nothing(nodes, tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()

    def disturb():
        """Kill an actor, want another one back, and let work go on when a third one has begun."""
        known = set()
        try:
            for number in (signal.SIGKILL, signal.SIGTERM, 0):
                process = next_process(seen, known)
                known.add(str(process))
                if number:
                    os.kill(process, number)
        finally:
            (seen / "go").touch()

    with ThreadPoolExecutor(1) as pool:
        disturber = pool.submit(disturb)
        receipts = on_ray(Slow(seen, 300, samples=48), tmp_path / "work", shards=4)
        disturber.result()
    assert sorted(receipts) == [0, 1, 2, 3] and sum(r.n_kept for r in receipts.values()) == 48
    rows = [
        row["key"]
        for shard in receipts
        for row in parquet.decode((tmp_path / f"work/poisoned/{shard:06d}.parquet").read_bytes())
    ]
    assert sorted(rows) == [f"k{n:02d}" for n in range(48)]
    assert actors_end()


def test_a_sample_that_kills_its_actor_is_one_failed_row(nodes, tmp_path):
    receipts = on_ray(Poisoned({"k06"}, images=True, how="kill"), tmp_path / "work", restarts=1)
    do(Poisoned({"k06"}, images=True, how="kill"), tmp_path / "local")
    assert receipts[0].n_failed == {"crashed": 1} and receipts[0].n_kept == 9 and receipts[1].n_kept == 10
    (bad,) = [
        row
        for row in parquet.decode((tmp_path / "work/poisoned/000000.parquet").read_bytes())
        if row["status"] == "failed"
    ]
    assert bad["key"] == "k06" and "Ray lost its process" in bad["detail"]
    for name in ("000000.tar", "000001.tar", "000001.parquet"):
        assert (tmp_path / "work/poisoned" / name).read_bytes() == (tmp_path / "local/poisoned" / name).read_bytes()


class Unlike(Poisoned):
    """Has another model on every machine that looks."""

    def models(self):
        return {"painter": str(os.getpid())}


class Homebound(Poisoned):
    """Its model lies on the command's machine alone."""

    def __init__(self, home):
        super().__init__()
        self.home = home

    def models(self):
        if os.getpid() != self.home:
            raise ModelError("no weights in models/painter")
        return {"painter": "abc"}


class Buggy(Poisoned):
    def run(self, tasks, shard):
        raise TypeError("a bug, not a sample's fault")


def test_a_node_with_another_model_or_no_run_is_refused(nodes, tmp_path):
    with pytest.raises(
        RefusedError, match=r"would compute something else .* model of poisoned: painter: \d+ -> \d+; install"
    ):
        on_ray(Unlike(), tmp_path / "unlike")
    assert not (tmp_path / "unlike/poisoned").exists()
    run = run_in(tmp_path / "here")
    run.store.local_root = tmp_path / "elsewhere"
    with RayExecutor(
        run, [Poisoned()], resources={"poisoned": ActorResources()}, on_event=lambda event: None
    ) as executor:
        ready = ReadyShards([Poisoned()], lambda stage: [0], lambda stage, shard: False)
        with pytest.raises(RefusedError, match=r"does not see the run in .*elsewhere"):
            list(executor.map_ready(ready))
    with pytest.raises(TypeError, match="a bug"):
        on_ray(Buggy(), tmp_path / "buggy")
    assert actors_end()


def test_a_node_with_other_code_or_no_model_is_refused(nodes, tmp_path, monkeypatch):
    with pytest.raises(
        RefusedError, match=r"model of poisoned: .* -> missing \(no weights in models/painter\); .*; install"
    ):
        on_ray(Homebound(os.getpid()), tmp_path / "homebound")
    older = {**environment_digest._sources(), "stages/outpaint.py": "0123456789ab", "stages/gone.py": "ba9876543210"}
    monkeypatch.setattr(environment_digest, "_sources", lambda: older)
    with pytest.raises(
        RefusedError,
        match=r"something else .* stages/outpaint\.py: 0123456789ab -> [0-9a-f]{12}.*install the same version",
    ) as refused:
        on_ray(Poisoned(), tmp_path / "code")
    assert "stages/gone.py" in str(refused.value)
    assert not (tmp_path / "homebound/poisoned").exists() and not (tmp_path / "code/poisoned").exists()


def test_a_submitted_job_runs_on_the_cluster_it_is_submitted_to(nodes, undisturbed, tmp_path):
    tools = Path(sys.executable).parent
    run = [tools / "procrop-data", "run", "--until", "ingest", "--executor", "ray", "--work", tmp_path]
    job = [
        tools / "ray",
        "job",
        "submit",
        "--address",
        nodes.dashboard,
        "--",
        *run,
        f"ingest.source={undisturbed / 'photos'}",
    ]
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    deadline = time.monotonic() + 120
    while True:  # a node's agent for jobs may start later than the node
        done = subprocess.run(list(map(str, job)), env=alone, capture_output=True, text=True, timeout=240, check=False)
        if "No available agent" not in done.stderr or time.monotonic() > deadline:
            break
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ingest +4 of 4 kept", done.stdout) and "succeeded" in done.stdout
    assert len(list((tmp_path / "ingest").glob("*.tar"))) > 0


def test_a_signal_lets_the_micro_batch_end_and_a_rerun_goes_on(nodes, tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()
    stage = Slow(seen, 0.2, samples=1200)  # half a minute, so that a late signal still finds it at work

    def interrupt():
        next_process(seen, ())
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        interrupter = pool.submit(interrupt)
        with pytest.raises(InterruptedRunError, match="run the same command to go on"):
            on_ray(stage, tmp_path / "work")
        interrupter.result()
    assert list((tmp_path / "work/poisoned/journal").glob("*.jsonl")) and os.listdir(tmp_path / "work/locks") == []
    (seen / "go").touch()
    assert {shard: r.n_kept for shard, r in on_ray(stage, tmp_path / "work").items()} == {0: 600, 1: 600}


def test_actors_compute_with_a_thread_each(nodes, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    on_ray(CountThreads(), tmp_path / "work")
    rows = [
        row for path in (tmp_path / "work/count-threads").glob("*.parquet") for row in parquet.decode(path.read_bytes())
    ]
    assert [(row["torch_threads"], row["wait_policy"]) for row in rows] == [(1, "PASSIVE")] * 2


def test_a_node_that_is_too_slow_for_ray_is_started_again():
    started = []

    def start(slow_ones):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        if len(started) <= slow_ones:
            raise RuntimeError(f"The current node {TOO_SLOW}. This could happen")
        return len(started)

    assert start_again_when_slow(lambda: start(2)) == 3
    assert [psutil.pid_exists(process.pid) for process in started] == [False, False, True]
    with pytest.raises(RuntimeError, match="another reason"):
        start_again_when_slow(lambda: (_ for _ in ()).throw(RuntimeError("another reason")))
    started[-1].kill()
    started[-1].wait()
