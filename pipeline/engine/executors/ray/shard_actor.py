"""The actor that does shards of one stage. It loads its models once, computes with one thread, and holds nothing that a
death could lose: what counts is in receipts and journals. Its methods run in the main thread, where signals are heard.
"""

import pickle
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import ray
from ray.util.metrics import Counter, Histogram

from pipeline.core.errors import HeldError, InterruptedRunError, RefusedError
from pipeline.engine.crash_isolation import probe
from pipeline.engine.environment_digest import census, told_apart
from pipeline.engine.executors.process_worker import Said, portable
from pipeline.engine.shard_runner import Control, Event, run_shard
from pipeline.runs.plan import PATH, load_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store

# In Ray's dashboard and its Prometheus export, with the prefix ``ray_``.
BOUNDARIES = [0.1, 1, 5, 10, 30, 60, 300, 600, 1800, 3600]


@dataclass(frozen=True)
class Errand:
    """What an actor works for. payload: pickled plan and stages; expected: the command's ``census`` of the stage; post: the
    name of the executor's ``Post``, for a handle among an actor's arguments would not outlast its restart.
    """

    url: str
    payload: bytes
    stage: str
    expected: Mapping[str, str]
    post: str


class ShardActor:
    """Does shards of the stage that its errand names."""

    def __init__(self, errand: Errand) -> None:
        self._errand, self._post = errand, ray.get_actor(errand.post)
        self._me = str(ray.get_runtime_context().get_actor_id())
        self._leaving = self._stopping = False
        self._reply: Any = None
        self._ready: tuple[Any, Run] | None = None
        self._samples = Counter("procrop_samples", "Samples by stage and outcome", tag_keys=("stage", "outcome"))
        self._seconds = Histogram(
            "procrop_shard_seconds", "Seconds a shard, by stage", boundaries=BOUNDARIES, tag_keys=("stage",)
        )
        signal.signal(signal.SIGTERM, self._on_signal)  # the machine is wanted back

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True

    def check_in(self) -> tuple[str, str, Said]:
        """Who it is, the node that it is on, and whether it can work there: ``done``, or the error that says what differs."""
        node = str(ray.get_runtime_context().get_node_id())
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - the command decides what it means
            return self._me, node, Said("error", portable(error))
        return self._me, node, Said("done")

    def _prepare(self) -> tuple[Any, Run]:
        """The stage and the run directory as this machine has them. Raises RefusedError when they are not the command's."""
        if self._ready is None:
            where = f"worker on {ray.util.get_node_ip_address()}"
            plan, stages = pickle.loads(self._errand.payload)
            stage = stages[self._errand.stage]
            apart = told_apart(self._errand.expected, census(stage))
            if apart:
                raise RefusedError(
                    f"a {where} would compute something else than this command: {apart}; install the same version and models on "
                    "every node"
                )
            store = open_store(self._errand.url)
            there = load_plan(store) if store.exists(PATH) else None
            if there is None or there.identity != plan.identity:
                raise RefusedError(
                    f"a {where} does not see the run in '{self._errand.url}': --work must be on a disk that all nodes share, or an "
                    "object store"
                )
            self._ready = (stage, Run(store, plan))
        return self._ready

    def do(self, shard: int, keys: Sequence[str] = (), alone: bool = False) -> Said:
        """Do a shard or, with keys, try samples of it.

        Gives ``done`` (a receipt), ``error``, ``stopped``, ``leaving`` (this machine is wanted back) or ``held``.
        """
        if self._leaving:
            return Said("leaving")
        self._reply = None
        self._stopping = bool(ray.get(self._post.begun.remote(self._me, self._errand.stage, shard, -1)))
        if self._stopping:
            return Said("stopped")
        started = time.perf_counter()
        try:
            stage, run = self._prepare()
            if keys:
                probe(stage, run, shard, keys)
                return Said("done")
            receipt = run_shard(stage, run, shard, self._control(shard, alone))
        except InterruptedRunError:
            return Said("stopped" if self._stopping else "leaving")
        except HeldError as error:
            return Said("held", str(error))
        except Exception as error:  # noqa: BLE001 - the command decides what it means
            return Said("error", portable(error))
        finally:
            ray.get(self._post.ended.remote(self._me))
        self._seconds.observe(time.perf_counter() - started, {"stage": receipt.stage})
        return Said("done", receipt)

    def _control(self, shard: int, alone: bool) -> Control:
        def beginning(start: int) -> None:
            if alone:  # a death must find its micro-batch written down
                ray.get(self._post.begun.remote(self._me, self._errand.stage, shard, start))

        return Control(report=self._report, stopping=self._asked_to_stop, beginning=beginning, overlap=not alone)

    def _report(self, event: Event) -> None:
        self._asked_to_stop()  # the answer to the last report came meanwhile; a new one must not hide it
        self._reply = self._post.tell.remote(event)
        for outcome in ("kept", "rejected", "failed"):
            if getattr(event, outcome):
                self._samples.inc(getattr(event, outcome), {"stage": event.stage, "outcome": outcome})

    def _asked_to_stop(self) -> bool:
        if self._reply is not None:
            done, _ = ray.wait([self._reply], timeout=0)
            if done:
                self._stopping, self._reply = self._stopping or ray.get(self._reply), None
        return self._stopping or self._leaving
