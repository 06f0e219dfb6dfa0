"""What becomes of shards that are with many actors at once: which is given out, and what each answer means."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.core.errors import RefusedError
from pipeline.engine.crash_isolation import Deaths
from pipeline.engine.executors.process_worker import error_of
from pipeline.engine.ready_shards import Flow
from pipeline.runs.receipts import Receipt

if TYPE_CHECKING:
    from pipeline.engine.executors.ray.actor_pool import Heard, Pool

HELD_AGAIN_S = 5.0
HELD_LONGEST_S = 300.0  # longer than the lock of a dead owner on another machine stays doubtful
_log = logging.getLogger(__name__)


class Crowd:
    """The shards of a flow among actors. Those whose actor died too often are set aside, to be done alone."""

    def __init__(self, work: Flow, deaths: Deaths) -> None:
        self.work = work
        self._deaths = deaths
        self._lonely: list[tuple[str, int]] = []
        self._first_held: dict[tuple[str, int], float] = {}

    def take_lonely(self) -> list[tuple[str, int]]:
        """Stage and number of the shards set aside since the last call."""
        lonely, self._lonely = self._lonely, []
        return lonely

    def hand_out(self, pools: Sequence["Pool"]) -> None:
        """Give ready shards to actors that are free for them."""
        for pool in pools:
            while self._deaths.hopeless and self.work.waiting(pool.stage):
                self._lonely.append((pool.stage, self.work.take(pool.stage)))
            pool.fit(self.work.waiting(pool.stage))
            while (waiting := self.work.waiting(pool.stage)) and (hand := pool.free(waiting)):
                pool.give(hand, self.work.take(pool.stage))

    def settle(self, stage: str, heard: "Heard", in_hand: tuple[str, int, int] | None) -> Receipt | None:
        """Draw the conclusion from an answer; gives the receipt of a shard that is done. Raises what a shard raised.

        in_hand: of an actor that died, the stage, shard and micro-batch that it began last; None when it is not to blame.
        """
        said, shard = heard.said, heard.shard
        if said.kind == "error":
            raise error_of(said)
        if shard < 0:
            return None
        if said.kind == "done":
            receipt: Receipt = said.what
            self._deaths.progress()
            self.work.done(receipt)
            return receipt
        if said.kind == "held":
            self._wait_for_owner(stage, shard, said.what)
        elif in_hand is not None and in_hand[:2] == (stage, shard):
            # Ray has tried it again by itself before it told us, so this is at least the second death.
            self._deaths.another((stage, shard))
            self._deaths.another((stage, shard))
            self._lonely.append((stage, shard))
            _log.info("actors died (%s) in %s shard %d", said.what, stage, shard)
        else:
            self.work.give_back(stage, shard)
        return None

    def _wait_for_owner(self, stage: str, shard: int, told: str) -> None:
        """Another process holds it, often a dead one of another machine; its lock is free when its heart stays silent."""
        first = self._first_held.setdefault((stage, shard), time.monotonic())
        if time.monotonic() - first > HELD_LONGEST_S:
            raise RefusedError(told)
        self.work.give_back(stage, shard, after=HELD_AGAIN_S)
