"""Actors of a Ray cluster. Only shard numbers and paths travel through Ray, never pixels. What is done is in receipts alone, so a
node, an actor or this command may die at any moment and the next run continues.
"""

import pickle
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.actor_resources import ActorResources
from pipeline.core.errors import InterruptedRunError
from pipeline.core.stage import Stage
from pipeline.engine.crash_isolation import Attempt, DeathCounter, run_isolated
from pipeline.engine.environment_digest import environment_digest
from pipeline.engine.executors.process_worker import SIGNALS, SignalHandler, WorkerMessage, error_of
from pipeline.engine.executors.ray.actor_pool import ActorPool, ActorReply, cause_of_death, start_actor
from pipeline.engine.executors.ray.cluster import actors_that_fit
from pipeline.engine.executors.ray.mailbox import Mailbox
from pipeline.engine.executors.ray.shard_actor import ActorSpec
from pipeline.engine.executors.shard_dispatch import HELD_AGAIN_S, ShardDispatcher
from pipeline.engine.ready_shards import ReadyShards
from pipeline.engine.shard_runner import Event
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run

LISTEN_S = 0.2
T = TypeVar("T")
PLACED_S = 30.0


class RayExecutor:
    """Does shards on the cluster that ``ray.init`` has joined. Use as a context manager.

    Signals INT, TERM and USR1 let each actor finish its micro-batch and end the command with InterruptedRunError.

    Args:
        run: the run directory.
        stages: all stages that it may do.
        resources: of one actor, by stage.
        on_event: called with the progress of shards.
        on_wait: called with the reason why no actor starts.
    """

    def __init__(
        self,
        run: Run,
        stages: Sequence[Stage],
        *,
        resources: Mapping[str, ActorResources],
        on_event: Callable[[Event], None],
        on_wait: Callable[[str], None] = lambda text: None,
    ) -> None:
        # Pickled before any digest is computed here, so that each machine computes the digests of its own files.
        self._payload = pickle.dumps((run.plan, {stage.name: stage for stage in stages}))
        self._run, self._resources = run, resources
        self._on_event, self._on_wait = on_event, on_wait
        self._stop = self._stop_sent = False
        self._old_handlers: dict[signal.Signals, SignalHandler] = {}
        self._mailbox_name = f"procrop-mailbox-{uuid.uuid4().hex}"
        self._mailbox: Any = None  # Ray's handle, once entered
        self._listened = 0.0

    def __enter__(self) -> "RayExecutor":
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = (
            ray.remote(Mailbox)
            .options(
                name=self._mailbox_name, num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
            )
            .remote()
        )
        for number in SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        ray.kill(self._mailbox)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def map_ready(self, work: ReadyShards) -> Iterator[Receipt]:
        """Receipts as they come, of all stages of ``work``. Raises what a shard raised first, when the others have stopped."""
        specs = {name: self._spec(stage) for name, stage in work.stages.items()}
        most = {name: self._max_actors(name) for name in specs}
        pools = [ActorPool(spec, self._resources[name], most[name]) for name, spec in specs.items()]
        dispatcher = ShardDispatcher(work, DeathCounter(sum(most.values())))
        try:
            while work.unfinished:
                yield from self._run_concurrently(dispatcher, pools)
                for pool in pools:
                    pool.close()  # their memory may be what an isolated shard lacks
                for name, shard in dispatcher.take_isolated():
                    receipt = run_isolated(
                        work.stages[name], self._run, shard, partial(self._single, specs[name], shard)
                    )
                    work.done(receipt)
                    yield receipt
        finally:
            for pool in pools:
                pool.close()
            self._listen(at_once=True)

    def _spec(self, stage: Stage) -> ActorSpec:
        store = self._run.store
        url = store.url if store.local_root is None else str(store.local_root.absolute())
        return ActorSpec(url, self._payload, stage.name, environment_digest(stage), self._mailbox_name)

    def _max_actors(self, stage: str) -> int:
        resources = self._resources[stage]
        return resources.most or actors_that_fit(resources.as_amounts(), ray.cluster_resources())

    def _run_concurrently(self, dispatcher: ShardDispatcher, pools: Sequence[ActorPool]) -> Iterator[Receipt]:
        """Do shards, many at a time, until all that are left must be done alone or wait for such a shard."""
        first: Exception | None = None
        since = time.monotonic()
        while any(pool.in_flight for pool in pools) or (dispatcher.work.pending and not (self._stop or first)):
            if self._stop or first:
                self._send_stop()
            else:
                dispatcher.dispatch(pools)
            for pool, reply in self._replies(pools):
                since = time.monotonic()
                try:
                    receipt = dispatcher.handle_reply(pool.stage, reply, self._begun_by(reply))
                except Exception as error:  # noqa: BLE001 - whatever a shard raised; the others finish their micro-batch first
                    first = first or error
                    continue
                if receipt is not None:
                    yield receipt
            if any(pool.stuck for pool in pools) and time.monotonic() - since > PLACED_S:
                since = time.monotonic()
                self._on_wait(self._why(pools))
        if first:
            raise first
        if self._stop:
            raise _stopped(pools)

    def _replies(self, pools: Sequence[ActorPool]) -> Iterator[tuple[ActorPool, ActorReply]]:
        """Results of calls that end within ``LISTEN_S`` seconds."""
        self._listen()
        refs = [ref for pool in pools for ref in pool.pending()]
        if not refs:
            time.sleep(LISTEN_S)
            return
        ready, _ = ray.wait(refs, timeout=LISTEN_S)
        for ref in ready:
            for pool in pools:
                reply = pool.reply_to(ref)
                if reply is not None:
                    yield pool, reply

    def _begun_by(self, reply: ActorReply) -> tuple[str, int, int] | None:
        """What an actor that died began last; None when its machine is gone too, since no shard caused that."""
        if reply.message.kind != "died":
            return None
        lives = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        begun: tuple[str, int, int] | None = ray.get(self._mailbox.begun_by.remote(reply.actor.id))
        return begun if reply.actor.node in lives else None

    def _listen(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._listened > LISTEN_S:
            self._listened = time.monotonic()
            for event in ray.get(self._mailbox.take_events.remote()):
                self._on_event(event)

    def _send_stop(self) -> None:
        if not self._stop_sent:
            self._stop_sent = True
            self._mailbox.stop.remote()

    def _why(self, pools: Sequence[ActorPool]) -> str:
        wanted = {pool.stage: self._resources[pool.stage].as_amounts() for pool in pools if pool.stuck}
        wants = "; ".join(f"{name} wants {_amounts(amounts)} an actor" for name, amounts in wanted.items())
        return (
            f"waiting for the cluster: {wants}; it has {_amounts(ray.cluster_resources())}, free are "
            f"{_amounts(ray.available_resources())}"
        )

    def _single(self, spec: ActorSpec, shard: int, keys: Sequence[str]) -> Attempt:
        """Do a shard, or try samples of it, in an actor of its own (for ``run_isolated``). Raises what a shard raised."""
        while True:
            actor = start_actor(spec, self._resources[spec.stage], once=True)
            identity, message = "", WorkerMessage("died")
            try:
                identity, _, message = self._answer(actor.check_in.remote())
                if message.kind == "done":
                    message = self._answer(actor.do.remote(shard, keys, alone=not keys))
            except RayError as error:
                message = WorkerMessage("died", text=cause_of_death(error))
            finally:
                ray.kill(actor)
            if self._stop:
                raise InterruptedRunError(f"stopped in {spec.stage}; run the same command to go on")
            if message.kind == "error" and not keys:
                raise error_of(message)
            if message.kind == "held":
                time.sleep(HELD_AGAIN_S)
            if message.kind in ("done", "error", "died"):
                begun = ray.get(self._mailbox.begun_by.remote(identity))
                return Attempt(message.receipt, message.text, begun[2] if begun else -1)

    def _answer(self, ref: "ray.ObjectRef[T]") -> T:
        """The result of a call, while progress and signals are handled."""
        while True:
            ready, _ = ray.wait([ref], timeout=LISTEN_S)
            self._listen()
            if ready:
                return ray.get(ref)
            if self._stop:
                self._send_stop()


def _stopped(pools: Sequence[ActorPool]) -> InterruptedRunError:
    names = [pool.stage for pool in pools]
    return InterruptedRunError(f"stopped between {names[0]} and {names[-1]}; run the same command to go on")


def _amounts(resources: Mapping[str, float]) -> str:
    shown = {name: amount for name, amount in resources.items() if ":" not in name and name != "object_store_memory"}
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(shown.items())) or "nothing"
