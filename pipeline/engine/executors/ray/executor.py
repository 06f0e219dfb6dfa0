"""Actors of a Ray cluster. Numbers of shards and paths travel through Ray, never pixels; what is done is in receipts alone, so
that a node, an actor or this command may die at any moment and the next try goes on.
"""

import pickle
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.actor_resources import Needs
from pipeline.core.errors import InterruptedRunError
from pipeline.core.stage import Stage
from pipeline.engine.crash_isolation import Deaths, alone
from pipeline.engine.environment_digest import census
from pipeline.engine.executors.process_worker import SIGNALS, Said, error_of
from pipeline.engine.executors.ray.actor_pool import Heard, Pool, how, start_actor
from pipeline.engine.executors.ray.cluster import room_for
from pipeline.engine.executors.ray.mailbox import Post
from pipeline.engine.executors.ray.shard_actor import Errand
from pipeline.engine.executors.shard_dispatch import HELD_AGAIN_S, Crowd
from pipeline.engine.ready_shards import Flow
from pipeline.engine.shard_runner import Event
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run

LISTEN_S = 0.2
PLACED_S = 30.0


class RayExecutor:
    """Does shards on the cluster that ``ray.init`` has joined. Use as a context manager.

    needs: what an actor asks for, by stage; on_wait: hears why nothing goes on. Signals INT, TERM and USR1 let each actor
    finish its micro-batch and end the command with InterruptedRunError.
    """

    def __init__(
        self,
        run: Run,
        stages: Sequence[Stage],
        *,
        needs: Mapping[str, Needs],
        on_event: Callable[[Event], None],
        on_wait: Callable[[str], None] = lambda text: None,
    ) -> None:
        # Before any digest is taken here, so that each machine takes them of its own files.
        self._payload = pickle.dumps((run.plan, {stage.name: stage for stage in stages}))
        self._run, self._needs = run, needs
        self._on_event, self._on_wait = on_event, on_wait
        self._stop = self._told = False
        self._old_handlers: dict[signal.Signals, Any] = {}
        self._post_name, self._post = f"procrop-post-{uuid.uuid4().hex}", None  # type: str, Any
        self._listened = 0.0

    def __enter__(self) -> "RayExecutor":
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._post = (
            ray.remote(Post)
            .options(name=self._post_name, num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
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
        ray.kill(self._post)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def flow(self, work: Flow) -> Iterator[Receipt]:
        """Receipts as they come, of all stages of ``work``. Raises what a shard raised first, when the others have stopped."""
        errands = {name: self._errand(stage) for name, stage in work.stages.items()}
        room = {name: self._room(name) for name in errands}
        pools = [Pool(errand, self._needs[name], room[name]) for name, errand in errands.items()]
        crowd = Crowd(work, Deaths(sum(room.values())))
        try:
            while work.unfinished:
                yield from self._among_others(crowd, pools)
                for pool in pools:
                    pool.close()  # what they hold in memory is what a shard on its own may need
                for name, shard in crowd.take_lonely():
                    receipt = alone(work.stages[name], self._run, shard, partial(self._single, errands[name], shard))
                    work.done(receipt)
                    yield receipt
        finally:
            for pool in pools:
                pool.close()
            self._listen(at_once=True)

    def _errand(self, stage: Stage) -> Errand:
        store = self._run.store
        url = store.url if store.local_root is None else str(store.local_root.absolute())
        return Errand(url, self._payload, stage.name, census(stage), self._post_name)

    def _room(self, stage: str) -> int:
        needs = self._needs[stage]
        return needs.most or room_for(needs.of_cluster(), ray.cluster_resources())

    def _among_others(self, crowd: Crowd, pools: Sequence[Pool]) -> Iterator[Receipt]:
        """Do shards, many at a time, until those left wait for one that must be done alone."""
        first: Exception | None = None
        since = time.monotonic()
        while any(pool.in_flight for pool in pools) or (crowd.work.pending and not (self._stop or first)):
            if self._stop or first:
                self._tell_to_stop()
            else:
                crowd.hand_out(pools)
            for pool, heard in self._heard(pools):
                since = time.monotonic()
                try:
                    receipt = crowd.settle(pool.stage, heard, self._in_hand(heard))
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

    def _heard(self, pools: Sequence[Pool]) -> Iterator[tuple[Pool, Heard]]:
        """Answers that come within a moment."""
        self._listen()
        refs = [ref for pool in pools for ref in pool.awaited()]
        if not refs:
            time.sleep(LISTEN_S)
            return
        ready, _ = ray.wait(refs, timeout=LISTEN_S)
        for ref in ready:
            for pool in pools:
                heard = pool.hear(ref)
                if heard is not None:
                    yield pool, heard

    def _in_hand(self, heard: Heard) -> tuple[str, int, int] | None:
        """Of an actor that died: what it began last, unless its whole machine is gone, which is no shard's fault."""
        if heard.said.kind != "died":
            return None
        lives = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        begun: tuple[str, int, int] | None = ray.get(self._post.in_hand.remote(heard.hand.id))
        return begun if heard.hand.node in lives else None

    def _listen(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._listened > LISTEN_S:
            self._listened = time.monotonic()
            for event in ray.get(self._post.news.remote()):
                self._on_event(event)

    def _tell_to_stop(self) -> None:
        if not self._told:
            self._told = True
            self._post.stop.remote()

    def _why(self, pools: Sequence[Pool]) -> str:
        asked = {pool.stage: self._needs[pool.stage].of_cluster() for pool in pools if pool.stuck}
        wants = "; ".join(f"{name} asks {_amounts(amounts)} an actor" for name, amounts in asked.items())
        return (
            f"waiting for the cluster: {wants}; it has {_amounts(ray.cluster_resources())}, free are "
            f"{_amounts(ray.available_resources())}"
        )

    def _single(self, errand: Errand, shard: int, keys: Sequence[str]) -> tuple[Receipt | None, str, int]:
        """What an actor of its own came to, as ``isolation.alone`` asks. Raises what a shard raised."""
        while True:
            actor = start_actor(errand, self._needs[errand.stage], once=True)
            identity, said = "", Said("died")
            try:
                identity, _, said = self._answer(actor.check_in.remote())
                if said.kind == "done":
                    said = self._answer(actor.do.remote(shard, keys, alone=not keys))
            except RayError as error:
                said = Said("died", how(error))
            finally:
                ray.kill(actor)
            if self._stop:
                raise InterruptedRunError(f"stopped in {errand.stage}; run the same command to go on")
            if said.kind == "error" and not keys:
                raise error_of(said)
            if said.kind == "held":
                time.sleep(HELD_AGAIN_S)
            if said.kind in ("done", "error", "died"):
                begun = ray.get(self._post.in_hand.remote(identity))
                receipt = said.what if said.kind == "done" and not keys else None
                return receipt, str(said.what) if said.kind == "died" else "", begun[2] if begun else -1

    def _answer(self, ref: Any) -> Any:
        """What something awaited comes to, while progress and signals are heard."""
        while True:
            ready, _ = ray.wait([ref], timeout=LISTEN_S)
            self._listen()
            if ready:
                return ray.get(ref)
            if self._stop:
                self._tell_to_stop()


def _stopped(pools: Sequence[Pool]) -> InterruptedRunError:
    names = [pool.stage for pool in pools]
    return InterruptedRunError(f"stopped between {names[0]} and {names[-1]}; run the same command to go on")


def _amounts(resources: Mapping[str, float]) -> str:
    shown = {name: amount for name, amount in resources.items() if ":" not in name and name != "object_store_memory"}
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(shown.items())) or "nothing"
