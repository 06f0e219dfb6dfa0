"""The actors of one stage: started while shards wait, at most two shards each, stopped when fewer shards are left."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError

from pipeline.core.actor_resources import ActorResources
from pipeline.core.errors import ProcropError
from pipeline.engine.executors.process_worker import WorkerMessage
from pipeline.engine.executors.ray.shard_actor import ActorSpec, ShardActor
from pipeline.engine.executors.worker_environment import worker_environment

IN_FLIGHT = 2  # the second is queued at the actor, so that the actor never waits for the command
TASK_RETRIES = 1
FAILED_STARTS = 3
CheckIn = tuple[str, str, WorkerMessage]
AnyRef: TypeAlias = "ray.ObjectRef[CheckIn] | ray.ObjectRef[WorkerMessage]"
_log = logging.getLogger(__name__)


@dataclass
class ActorHandle:
    """One actor as the command sees it.

    handle: Ray's; id, node: empty until the actor has checked in; leaving: it takes no more shards; jobs: pending call -> shard.
    """

    handle: Any
    checking_in: "ray.ObjectRef[CheckIn]"
    id: str = ""
    node: str = ""
    leaving: bool = False
    jobs: dict["ray.ObjectRef[WorkerMessage]", int] = field(default_factory=dict)


@dataclass(frozen=True)
class ActorReply:
    """The result of a pending call: of a shard, or (shard -1) of checking in."""

    actor: ActorHandle
    shard: int
    message: WorkerMessage


class ActorPool:
    """Actors for one stage, at most ``max_actors`` of them."""

    def __init__(self, spec: ActorSpec, resources: ActorResources, max_actors: int) -> None:
        self._spec, self._resources, self._max_actors = spec, resources, max_actors
        self._actors: list[ActorHandle] = []
        self._failed_starts = 0

    @property
    def stage(self) -> str:
        """Name of the stage whose shards the actors do."""
        return self._spec.stage

    @property
    def in_flight(self) -> int:
        """Number of shards that actors work on or have queued."""
        return sum(len(actor.jobs) for actor in self._actors)

    @property
    def stuck(self) -> bool:
        """Whether actors are requested and none has started."""
        return bool(self._actors) and not any(actor.id for actor in self._actors)

    def resize(self, waiting: int) -> None:
        """Request actors for so many waiting shards and those in flight; stop idle actors that are not needed."""
        wanted = min(self._max_actors, waiting + self.in_flight)
        for actor in [actor for actor in self._actors if not actor.jobs]:
            if actor.leaving or len(self._actors) > wanted:
                self._release(actor)
        while sum(not actor.leaving for actor in self._actors) < wanted:
            handle = start_actor(self._spec, self._resources)
            self._actors.append(ActorHandle(handle, handle.check_in.options(max_task_retries=0).remote()))

    def free(self, waiting: int) -> ActorHandle | None:
        """The actor for the next of ``waiting`` shards. An actor gets a second shard only while there is one for every actor."""
        ready = [actor for actor in self._actors if actor.id and not actor.leaving]
        most = IN_FLIGHT if waiting > len(self._actors) else 1
        return min(
            (actor for actor in ready if len(actor.jobs) < most), key=lambda actor: len(actor.jobs), default=None
        )

    def give(self, actor: ActorHandle, shard: int) -> None:
        """Send a shard's number to an actor."""
        actor.jobs[actor.handle.do.remote(shard)] = shard

    def pending(self) -> Iterator["AnyRef"]:
        """References of all calls whose result is still to come."""
        for actor in self._actors:
            yield from actor.jobs
            if not actor.id:
                yield actor.checking_in

    def reply_to(self, ref: "AnyRef") -> ActorReply | None:
        """The result of a pending call; None for a call of another pool. Raises ProcropError when actors do not start."""
        for actor in self._actors:
            if ref == actor.checking_in and not actor.id:
                return self._start_reply(actor)
            for job in actor.jobs:
                if ref == job:
                    return self._job_reply(actor, job)
        return None

    def _job_reply(self, actor: ActorHandle, ref: "ray.ObjectRef[WorkerMessage]") -> ActorReply:
        try:
            message: WorkerMessage = ray.get(ref)
        except RayError as error:
            message = WorkerMessage("died", text=cause_of_death(error))
        actor.leaving = actor.leaving or message.kind in ("leaving", "died")
        return ActorReply(actor, actor.jobs.pop(ref), message)

    def _start_reply(self, actor: ActorHandle) -> ActorReply | None:
        try:
            actor.id, actor.node, message = ray.get(actor.checking_in)
        except RayError as error:
            self._failed_starts += 1
            self._actors.remove(actor)
            _log.info("an actor of %s did not start: %s", self.stage, error)
            if self._failed_starts >= FAILED_STARTS:
                raise ProcropError(
                    f"workers of {self.stage} do not start: {cause_of_death(error)}; is procrop-data installed on every node?"
                ) from error
            return None
        self._failed_starts = 0
        return ActorReply(actor, -1, message)

    def _release(self, actor: ActorHandle) -> None:
        self._actors.remove(actor)
        ray.kill(actor.handle)  # it has nothing in hand

    def close(self) -> None:
        """Stop all actors."""
        while self._actors:
            self._release(self._actors[-1])


def start_actor(spec: ActorSpec, resources: ActorResources, *, once: bool = False) -> Any:
    """Ray's handle of a new actor, which starts when the cluster has room. once: do not restart it when it dies."""
    more = {"memory": resources.memory} if resources.memory else {}
    return (
        ray.remote(ShardActor)
        .options(
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus or 0,
            resources=resources.custom or None,
            max_restarts=0 if once else resources.restarts,
            max_task_retries=0 if once else TASK_RETRIES,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": worker_environment()},
            **more,
        )
        .remote(spec)
    )


def cause_of_death(error: RayError) -> str:
    """How an actor died, in a few words: Ray reports no signal and no exit code, but usually a failed import."""
    text = str(error)
    match = re.search(r"\w*(Import|NotFound)Error: .*", text)
    if match:
        return match.group(0)[:200]
    return "Ray lost its process" if "Worker exit" in text else text.strip().splitlines()[-1][:200]
