"""The actors of one stage: asked for as there is work, given at most two shards each, let go when there is less."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.core.actor_resources import Needs
from pipeline.core.errors import ProcropError
from pipeline.engine.executors.process_worker import Said
from pipeline.engine.executors.ray.shard_actor import Errand, ShardActor

IN_FLIGHT = 2  # the second waits at the actor, so that it never waits for the command
TASK_RETRIES = 1
FAILED_STARTS = 3
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_log = logging.getLogger(__name__)


@dataclass
class Hand:
    """One actor as the command sees it. id and node are empty until it has checked in; jobs: shard by what is awaited."""

    handle: Any
    checking_in: Any
    id: str = ""
    node: str = ""
    leaving: bool = False
    jobs: dict[Any, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """What came of something awaited: of a shard, or (-1) of checking in."""

    hand: Hand
    shard: int
    said: Said


class Pool:
    """Actors for one stage. ``room``: at most so many of them."""

    def __init__(self, errand: Errand, needs: Needs, room: int) -> None:
        self._errand, self._needs, self._room = errand, needs, room
        self._hands: list[Hand] = []
        self._failed_starts = 0

    @property
    def stage(self) -> str:
        """Whose shards they do."""
        return self._errand.stage

    @property
    def in_flight(self) -> int:
        """Shards that are with actors."""
        return sum(len(hand.jobs) for hand in self._hands)

    @property
    def stuck(self) -> bool:
        """Whether actors are asked for and none has come."""
        return bool(self._hands) and not any(hand.id for hand in self._hands)

    def fit(self, waiting: int) -> None:
        """Ask for actors for so many waiting shards and those in flight; let go of those that nothing is left for."""
        wanted = min(self._room, waiting + self.in_flight)
        for hand in [hand for hand in self._hands if not hand.jobs]:
            if hand.leaving or len(self._hands) > wanted:
                self._let_go(hand)
        while sum(not hand.leaving for hand in self._hands) < wanted:
            handle = start_actor(self._errand, self._needs)
            self._hands.append(Hand(handle, handle.check_in.options(max_task_retries=0).remote()))

    def free(self, waiting: int) -> Hand | None:
        """The actor to give the next of ``waiting`` shards to. A second one only while there is one for every actor."""
        ready = [hand for hand in self._hands if hand.id and not hand.leaving]
        most = IN_FLIGHT if waiting > len(self._hands) else 1
        return min((hand for hand in ready if len(hand.jobs) < most), key=lambda hand: len(hand.jobs), default=None)

    def give(self, hand: Hand, shard: int) -> None:
        """Send a shard's number to an actor."""
        hand.jobs[hand.handle.do.remote(shard)] = shard

    def awaited(self) -> Iterator[Any]:
        """Everything that an answer is to come of."""
        for hand in self._hands:
            yield from hand.jobs
            if not hand.id:
                yield hand.checking_in

    def hear(self, ref: Any) -> Heard | None:
        """The answer to something awaited; None when it is not this pool's. Raises what keeps actors from starting."""
        for hand in self._hands:
            if ref in hand.jobs:
                return self._of_job(hand, ref)
            if ref == hand.checking_in and not hand.id:
                return self._of_start(hand)
        return None

    def _of_job(self, hand: Hand, ref: Any) -> Heard:
        try:
            said: Said = ray.get(ref)
        except RayError as error:
            said = Said("died", how(error))
        hand.leaving = hand.leaving or said.kind in ("leaving", "died")
        return Heard(hand, hand.jobs.pop(ref), said)

    def _of_start(self, hand: Hand) -> Heard | None:
        try:
            hand.id, hand.node, said = ray.get(hand.checking_in)
        except RayError as error:
            self._failed_starts += 1
            self._hands.remove(hand)
            _log.info("an actor of %s did not start: %s", self.stage, error)
            if self._failed_starts >= FAILED_STARTS:
                raise ProcropError(
                    f"workers of {self.stage} do not start: {how(error)}; is procrop-data installed on every node?"
                ) from error
            return None
        self._failed_starts = 0
        return Heard(hand, -1, said)

    def _let_go(self, hand: Hand) -> None:
        self._hands.remove(hand)
        ray.kill(hand.handle)  # it has nothing in hand

    def close(self) -> None:
        """Let go of all."""
        while self._hands:
            self._let_go(self._hands[-1])


def start_actor(errand: Errand, needs: Needs, *, once: bool = False) -> Any:
    """Handle of a new actor, which comes to life when the cluster has room. once: whether its death is final."""
    more = {"memory": needs.memory} if needs.memory else {}
    return (
        ray.remote(ShardActor)
        .options(
            num_cpus=needs.num_cpus,
            num_gpus=needs.num_gpus or 0,
            resources=needs.custom or None,
            max_restarts=0 if once else needs.restarts,
            max_task_retries=0 if once else TASK_RETRIES,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": THREADS},
            **more,
        )
        .remote(errand)
    )


def how(error: RayError) -> str:
    """How an actor died, in a few words: Ray knows no signal and no exit code, but mostly what could not be imported."""
    text = str(error)
    found = re.search(r"\w*(Import|NotFound)Error: .*", text)
    if found:
        return found.group(0)[:200]
    return "Ray lost its process" if "Worker exit" in text else text.strip().splitlines()[-1][:200]
