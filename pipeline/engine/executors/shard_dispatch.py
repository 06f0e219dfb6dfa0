"""Dispatching shards to many actors at once: which shard goes to which pool, and what each reply means."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.core.errors import RefusedError
from pipeline.engine.crash_isolation import DeathCounter
from pipeline.engine.executors.process_worker import error_of
from pipeline.engine.ready_shards import ReadyShards
from pipeline.runs.receipts import Receipt

if TYPE_CHECKING:
    from pipeline.engine.executors.ray.actor_pool import ActorPool, ActorReply

HELD_AGAIN_S = 5.0
HELD_LONGEST_S = 300.0  # longer than it takes to detect that the owner of a lock on another machine is dead
_log = logging.getLogger(__name__)


class ShardDispatcher:
    """Dispatches ready shards to actor pools. Shards whose actor died too often are set aside, to be done alone."""

    def __init__(self, work: ReadyShards, deaths: DeathCounter) -> None:
        self.work = work
        self._deaths = deaths
        self._isolated: list[tuple[str, int]] = []
        self._first_held: dict[tuple[str, int], float] = {}

    def take_isolated(self) -> list[tuple[str, int]]:
        """Stage and number of the shards set aside since the last call."""
        isolated, self._isolated = self._isolated, []
        return isolated

    def dispatch(self, pools: Sequence["ActorPool"]) -> None:
        """Send ready shards to free actors."""
        for pool in pools:
            while self._deaths.exceeded and self.work.waiting(pool.stage):
                self._isolated.append((pool.stage, self.work.take(pool.stage)))
            pool.resize(self.work.waiting(pool.stage))
            while (waiting := self.work.waiting(pool.stage)) and (actor := pool.free(waiting)):
                pool.give(actor, self.work.take(pool.stage))

    def handle_reply(self, stage: str, reply: "ActorReply", begun: tuple[str, int, int] | None) -> Receipt | None:
        """Handle a reply; gives the receipt of a shard that is done. Raises what a shard raised.

        begun: of an actor that died, the stage, shard and micro-batch that it began last; None when no shard caused its death.
        """
        message, shard = reply.message, reply.shard
        if message.kind == "error":
            raise error_of(message)
        if shard < 0:
            return None
        if message.kind == "done":
            assert message.receipt is not None
            self._deaths.progress()
            self.work.done(message.receipt)
            return message.receipt
        if message.kind == "held":
            self._wait_for_owner(stage, shard, message.text)
        elif begun is not None and begun[:2] == (stage, shard):
            # Ray has retried it by itself before it reports the death, so this is at least the second one.
            self._deaths.add((stage, shard))
            self._deaths.add((stage, shard))
            self._isolated.append((stage, shard))
            _log.info("actors died (%s) in %s shard %d", message.text, stage, shard)
        else:
            self.work.put_back(stage, shard)
        return None

    def _wait_for_owner(self, stage: str, shard: int, holder: str) -> None:
        """Try a shard again later that another process holds; a dead process's lock is free after a time without heartbeats."""
        first = self._first_held.setdefault((stage, shard), time.monotonic())
        if time.monotonic() - first > HELD_LONGEST_S:
            raise RefusedError(holder)
        self.work.put_back(stage, shard, after=HELD_AGAIN_S)
