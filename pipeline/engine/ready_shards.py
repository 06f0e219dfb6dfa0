"""Several stages in flight at once: a shard goes on to the next stage while others are still in this one.

That is possible from stage to stage as long as a stage's shard n reads shard n of those before it and nothing else. Where
a stage looks at all shards first (a prologue), the flow ends and another begins.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

from pipeline.core.stage import Stage
from pipeline.runs.receipts import Receipt


def legs(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages in order, cut before each that must see all shards of the ones before it."""
    found: list[list[Stage]] = []
    for stage in stages:
        if not found or stage.prologue_needed or stage.regroups or _regrouped(stage, found[-1]):
            found.append([])
        found[-1].append(stage)
    return found


def _regrouped(stage: Stage, leg: Sequence[Stage]) -> bool:
    """Whether it reads shards that are numbered in another way."""
    return any(other.regroups and other.name in stage.upstream for other in leg)


class Flow:
    """Which shards may be done now. A shard of a stage is ready when the same shard of all that it reads is done.

    found(stage, shard): whether a shard whose turn has come turns out to be done already.
    """

    def __init__(
        self, stages: Sequence[Stage], shards: Callable[[Stage], Sequence[int]], found: Callable[[Stage, int], bool]
    ) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self._reads = {stage.name: [name for name in stage.upstream if name in self.stages] for stage in stages}
        self._open = {stage.name: set(shards(stage)) for stage in stages}
        self._ready: dict[str, deque[int]] = {stage.name: deque() for stage in stages}
        self._later: list[tuple[float, str, int]] = []
        self._found = found
        for name, reads in self._reads.items():
            for shard in [] if reads else sorted(self._open[name]):  # the rest follows from what is found done
                self._consider(name, shard)

    def _consider(self, name: str, shard: int) -> None:
        """Put a shard among the ready ones if it is its turn; if it is done, so may be what reads it."""
        if shard in self._open[name] and not any(shard in self._open[read] for read in self._reads[name]):
            if self._found(self.stages[name], shard):
                self._open[name].discard(shard)
                self._go_on(name, shard)
            else:
                self._ready[name].append(shard)

    def _go_on(self, name: str, shard: int) -> None:
        for reader, reads in self._reads.items():
            if name in reads:
                self._consider(reader, shard)

    @property
    def unfinished(self) -> bool:
        """Whether any shard is not done yet."""
        return any(self._open.values())

    @property
    def pending(self) -> bool:
        """Whether any shard could begin, now or after a wait."""
        return bool(self._later) or any(self._ready.values())

    def left(self, name: str) -> int:
        """Shards of a stage that are not done, whether it is their turn or not."""
        return len(self._open[name])

    def waiting(self, name: str) -> int:
        """Shards of a stage that could begin now."""
        now = time.monotonic()
        for entry in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(entry)
            self._ready[entry[1]].append(entry[2])
        return len(self._ready[name])

    def first(self, name: str) -> int:
        """The shard of a stage that ``take`` would give."""
        return self._ready[name][0]

    def take(self, name: str) -> int:
        """A shard of a stage to begin with; there must be one."""
        return self._ready[name].popleft()

    def give_back(self, name: str, shard: int, after: float = 0.0) -> None:
        """A shard that was taken and is not done: its turn comes again, in ``after`` seconds."""
        self._later.append((time.monotonic() + after, name, shard))

    def done(self, receipt: Receipt) -> None:
        """A shard was committed."""
        self._open[receipt.stage].discard(receipt.shard)
        self._go_on(receipt.stage, receipt.shard)
