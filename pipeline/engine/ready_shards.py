"""Which shards of several stages can start: a shard goes on to the next stage while others are still in this one.

That holds from stage to stage as long as shard n of a stage reads shard n of its upstream stages and nothing else. A stage that
reads all shards first (in its prologue) begins a new segment.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

from pipeline.core.stage import Stage
from pipeline.runs.receipts import Receipt


def segments(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages in order, split before each that must read all shards of the stages before it."""
    parts: list[list[Stage]] = []
    for stage in stages:
        if not parts or stage.prologue_needed or stage.regroups or _regrouped(stage, parts[-1]):
            parts.append([])
        parts[-1].append(stage)
    return parts


def _regrouped(stage: Stage, segment: Sequence[Stage]) -> bool:
    """Whether it reads shards that are numbered in another way."""
    return any(other.regroups and other.name in stage.upstream for other in segment)


class ReadyShards:
    """A queue of shards by stage. A shard is ready when the same shard of all its upstream stages is done.

    Args:
        stages: of one segment.
        shards: the shard numbers of a stage.
        is_done: whether a shard that became ready is done already.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        shards: Callable[[Stage], Sequence[int]],
        is_done: Callable[[Stage, int], bool],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self._reads = {stage.name: [name for name in stage.upstream if name in self.stages] for stage in stages}
        self._open = {stage.name: set(shards(stage)) for stage in stages}
        self._ready: dict[str, deque[int]] = {stage.name: deque() for stage in stages}
        self._later: list[tuple[float, str, int]] = []
        self._is_done = is_done
        self._now = now
        for name, reads in self._reads.items():
            for shard in [] if reads else sorted(self._open[name]):  # readers follow when a shard is done
                self._consider(name, shard)

    def _consider(self, name: str, shard: int) -> None:
        """Queue a shard if its upstream is done; if it is done itself, consider the shards that read it."""
        if shard in self._open[name] and not any(shard in self._open[read] for read in self._reads[name]):
            if self._is_done(self.stages[name], shard):
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
        """Shards of a stage that are not done, ready or not."""
        return len(self._open[name])

    def waiting(self, name: str) -> int:
        """Shards of a stage that could begin now."""
        now = self._now()
        for entry in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(entry)
            self._ready[entry[1]].append(entry[2])
        return len(self._ready[name])

    def first(self, name: str) -> int:
        """The ready shard of a stage that ``take`` gives next."""
        return self._ready[name][0]

    def take(self, name: str) -> int:
        """Take a ready shard of a stage from the queue. Raises IndexError when none is ready."""
        return self._ready[name].popleft()

    def put_back(self, name: str, shard: int, after: float = 0.0) -> None:
        """Queue a shard that was taken but not done again, after ``after`` seconds."""
        self._later.append((self._now() + after, name, shard))

    def done(self, receipt: Receipt) -> None:
        """A shard was committed."""
        self._open[receipt.stage].discard(receipt.shard)
        self._go_on(receipt.stage, receipt.shard)
