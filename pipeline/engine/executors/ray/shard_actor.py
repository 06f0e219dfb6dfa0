"""The actor that does shards of one stage. It loads its models once, computes with one thread, and keeps no result in memory:
receipts and journals hold what is done. Its methods run in the main thread, which receives signals.
"""

import pickle
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

import ray
from ray.util.metrics import Counter, Histogram

from pipeline.core.errors import HeldError, InterruptedRunError, RefusedError
from pipeline.core.stage import Stage
from pipeline.engine.crash_isolation import try_samples
from pipeline.engine.environment_digest import environment_difference, environment_digest
from pipeline.engine.executors.process_worker import WorkerMessage, portable
from pipeline.engine.shard_runner import Control, Event, run_shard
from pipeline.runs.plan import PATH, load_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store

# In Ray's dashboard and its Prometheus export, with the prefix ``ray_``.
BOUNDARIES = [0.1, 1, 5, 10, 30, 60, 300, 600, 1800, 3600]


@dataclass(frozen=True)
class ActorSpec:
    """What an actor needs to work.

    Args:
        url: of the run directory.
        payload: pickled plan and stages.
        stage: name of the stage whose shards it does.
        expected: the command's ``environment_digest`` of the stage.
        mailbox: name of the executor's ``Mailbox``; a handle among an actor's arguments would not survive its restart.
    """

    url: str
    payload: bytes
    stage: str
    expected: Mapping[str, str]
    mailbox: str


class ShardActor:
    """Does shards of the stage that ``spec`` names."""

    def __init__(self, spec: ActorSpec) -> None:
        self._spec, self._mailbox = spec, ray.get_actor(spec.mailbox)
        self._id = str(ray.get_runtime_context().get_actor_id())
        self._leaving = self._stopping = False
        self._reply: ray.ObjectRef[bool] | None = None
        self._ready: tuple[Stage, Run] | None = None
        self._samples = Counter("procrop_samples", "Samples by stage and outcome", tag_keys=("stage", "outcome"))
        self._seconds = Histogram(
            "procrop_shard_seconds", "Seconds a shard, by stage", boundaries=BOUNDARIES, tag_keys=("stage",)
        )
        signal.signal(signal.SIGTERM, self._on_signal)  # the machine is being taken away

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True

    def check_in(self) -> tuple[str, str, WorkerMessage]:
        """Its actor id, its node id, and ``done``, or the ``error`` that says how its environment differs from the command's."""
        node = str(ray.get_runtime_context().get_node_id())
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - the command decides what it means
            return self._id, node, WorkerMessage("error", error=portable(error))
        return self._id, node, WorkerMessage("done")

    def _prepare(self) -> tuple[Stage, Run]:
        """The stage and the run directory on this machine. Raises RefusedError when they differ from the command's."""
        if self._ready is None:
            where = f"worker on {ray.util.get_node_ip_address()}"
            plan, stages = pickle.loads(self._spec.payload)
            stage = stages[self._spec.stage]
            differences = environment_difference(self._spec.expected, environment_digest(stage))
            if differences:
                raise RefusedError(
                    f"a {where} would compute something else than this command: {differences}; install the same version and "
                    "models on every node"
                )
            store = open_store(self._spec.url)
            there = load_plan(store) if store.exists(PATH) else None
            if there is None or there.identity != plan.identity:
                raise RefusedError(
                    f"a {where} does not see the run in '{self._spec.url}': --work must be on a disk that all nodes share, or an "
                    "object store"
                )
            self._ready = (stage, Run(store, plan))
        return self._ready

    def do(self, shard: int, keys: Sequence[str] = (), alone: bool = False) -> WorkerMessage:
        """Do a shard or, with keys, try samples of it.

        Gives ``done`` (a receipt), ``error``, ``stopped``, ``leaving`` (its machine is being taken away) or ``held``.
        """
        if self._leaving:
            return WorkerMessage("leaving")
        self._reply = None
        self._stopping = bool(ray.get(self._mailbox.begun.remote(self._id, self._spec.stage, shard, -1)))
        if self._stopping:
            return WorkerMessage("stopped")
        started = time.perf_counter()
        try:
            stage, run = self._prepare()
            if keys:
                try_samples(stage, run, shard, keys)
                return WorkerMessage("done")
            receipt = run_shard(stage, run, shard, self._control(shard, alone))
        except InterruptedRunError:
            return WorkerMessage("stopped" if self._stopping else "leaving")
        except HeldError as error:
            return WorkerMessage("held", text=str(error))
        except Exception as error:  # noqa: BLE001 - the command decides what it means
            return WorkerMessage("error", error=portable(error))
        finally:
            ray.get(self._mailbox.ended.remote(self._id))
        self._seconds.observe(time.perf_counter() - started, {"stage": receipt.stage})
        return WorkerMessage("done", receipt=receipt)

    def _control(self, shard: int, alone: bool) -> Control:
        def beginning(start: int) -> None:
            if alone:  # recorded before the micro-batch, so that it is known after a crash
                ray.get(self._mailbox.begun.remote(self._id, self._spec.stage, shard, start))

        return Control(report=self._report, stopping=self._should_stop, beginning=beginning, overlap=not alone)

    def _report(self, event: Event) -> None:
        self._should_stop()  # reads the answer to the last report, before a new report replaces it
        self._reply = self._mailbox.add_event.remote(event)
        for outcome in ("kept", "rejected", "failed"):
            if getattr(event, outcome):
                self._samples.inc(getattr(event, outcome), {"stage": event.stage, "outcome": outcome})

    def _should_stop(self) -> bool:
        if self._reply is not None:
            done, _ = ray.wait([self._reply], timeout=0)
            if done:
                self._stopping, self._reply = self._stopping or ray.get(self._reply), None
        return self._stopping or self._leaving
