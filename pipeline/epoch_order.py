"""Which samples come when: a function of the seed, the epoch and the step alone, whatever ranks and workers there are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RefusedError, UsageError
from pipeline.seeds import seed_for


@dataclass(frozen=True)
class Share:
    """Who asks. rank of ranks: a process of the training, counted over all nodes; worker of workers: a loader within it."""

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.ranks and 0 <= self.worker < self.workers):
            raise UsageError(f"{self} is no share: ranks and workers count from 0")


class EpochOrder:
    """Batches of ``size`` positions of ``count`` samples, over all ranks together.

    Every rank gets the same number of batches. The k-th batches of all ranks together are the k-th ``size`` samples of the
    epoch's permutation, dealt out one by one, so ranks' parts of a batch differ by at most one sample. The last batch of an epoch
    has what is left: nothing is dropped, and a rank that would get none of it gets a copy of its first sample. With
    ``drop_last`` an incomplete last batch is left out instead. Memory: 8 bytes a sample, for the permutation.
    """

    def __init__(self, count: int, size: int, seed: int, *, drop_last: bool = False) -> None:
        if size < 1:
            raise UsageError(f"a batch has at least one sample, not {size}")
        self.count, self.size, self.seed, self.drop_last = count, size, seed, drop_last

    @property
    def batches_an_epoch(self) -> int:
        """Batches of one epoch, the same for every rank."""
        return self.count // self.size if self.drop_last else -(-self.count // self.size)

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """All positions [count], each once, in the order of an epoch."""
        return np.random.default_rng(seed_for(self.seed, "order", str(epoch))).permutation(self.count)

    def batches(self, epoch: int, share: Share | None = None, start: int = 0) -> Iterator[list[int]]:
        """A rank's batches of an epoch from number ``start`` on; worker w of W makes the ones with numbers start + w + n W."""
        share = share or Share()
        order = self.permutation(epoch)
        for number in range(start + share.worker, self.batches_an_epoch, share.workers):
            whole = order[number * self.size : (number + 1) * self.size].tolist()
            yield whole[share.rank :: share.ranks] or whole[:1]


class Feed:
    """Where a training is in an ``EpochOrder``. The state is one for all ranks and does not know of workers.

    Iterating gives the rank's batches to the end of the epoch and counts each as it is handed out: a state taken while a batch is
    in hand goes on with the next one. ``end_epoch`` comes after the last.
    """

    def __init__(self, order: EpochOrder, rank: int = 0, ranks: int = 1) -> None:
        self.order = order
        self.epoch = self.step = 0
        self._share = Share(rank, ranks)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.of_worker():
            self.step += 1
            yield batch

    def of_worker(self, worker: int = 0, workers: int = 1) -> Iterator[list[int]]:
        """What one of several loaders makes from here to the end of the epoch, counting nothing: who collects from them in turn
        adds to ``step``.
        """
        share = Share(self._share.rank, self._share.ranks, worker, workers)
        return self.order.batches(self.epoch, share, self.step)

    def end_epoch(self) -> None:
        """Go on to the first batch of the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on with exactly the same samples: plain numbers."""
        order = self.order
        return {
            "epoch": self.epoch, "step": self.step, "count": order.count, "size": order.size, "seed": order.seed,
            "drop_last": order.drop_last,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another Feed was; raises RefusedError when its order was another one."""
        mine = self.state_dict()
        differ = [n for n in ("count", "size", "seed", "drop_last") if mine[n] != state.get(n)]
        if differ:
            changes = ", ".join(f"{name} {state.get(name)} -> {mine[name]}" for name in differ)
            raise RefusedError(
                f"the state belongs to another order of samples ({changes}): use the same data and settings"
            )
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
