"""Which samples come when: a function of the seed, the epoch and the step alone, whatever ranks and workers there are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import RefusedError, UsageError
from pipeline.core.seeds import seed_for

ORDER = ("count", "size", "seed", "drop_last", "lanes")  # what a place in an order is a place of


@dataclass(frozen=True)
class LoaderRank:
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

    lanes: a sample keeps its place within the batch, ``position % size``, in every epoch, so that with any number of ranks the
    same rank meets it again, and what that rank kept of it is of use (an epoch's shuffle is then one within each lane).
    """

    def __init__(self, count: int, size: int, seed: int, *, drop_last: bool = False, lanes: bool = False) -> None:
        if size < 1:
            raise UsageError(f"a batch has at least one sample, not {size}")
        self.count, self.size, self.seed, self.drop_last, self.lanes = count, size, seed, drop_last, lanes

    @property
    def batches_an_epoch(self) -> int:
        """Batches of one epoch, the same for every rank."""
        return self.count // self.size if self.drop_last else -(-self.count // self.size)

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """All positions [count], each once, in the order of an epoch."""
        return np.random.default_rng(seed_for(self.seed, "order", str(epoch))).permutation(self.count)

    def batches(self, epoch: int, share: LoaderRank | None = None, start: int = 0) -> Iterator[list[int]]:
        """A rank's batches of an epoch from number ``start`` on; worker w of W makes the ones with numbers start + w + n W."""
        share = share or LoaderRank()
        order = self.permutation(epoch)
        if self.lanes:
            order = in_lanes(order, self.size)
        for number in range(start + share.worker, self.batches_an_epoch, share.workers):
            whole = order[number * self.size : (number + 1) * self.size].tolist()
            yield whole[share.rank :: share.ranks] or whole[:1]

    def has_own(self, number: int, share: LoaderRank) -> bool:
        """Whether a rank's part of a batch is its own; else it is a copy, and counts for nothing."""
        return share.rank < min(self.size, self.count - number * self.size)


def in_lanes(order: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The same positions, in an order in which position p comes at a place that is p modulo ``size``, and in a lane as they came.

    Where the lanes are of unequal length, what is too much for one fills the places that another leaves.
    """
    lane = order % size
    by_lane = np.argsort(lane, kind="stable")
    counts = np.bincount(lane, minlength=size)
    row = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = row * size + lane[by_lane]
    fits = place < len(order)
    found = np.full(len(order), -1, np.int64)
    found[place[fits]] = order[by_lane[fits]]
    found[found < 0] = order[by_lane[~fits]]
    return found


class Feed:
    """Where a training is in an ``EpochOrder``. The state is one for all ranks and does not know of workers.

    Iterating gives the rank's batches to the end of the epoch and counts each as it is handed out: a state taken while a batch is
    in hand goes on with the next one. ``end_epoch`` comes after the last.
    """

    def __init__(self, order: EpochOrder, rank: int = 0, ranks: int = 1) -> None:
        self.order = order
        self.epoch = self.step = 0
        self.share = LoaderRank(rank, ranks)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.of_worker():
            self.step += 1
            yield batch

    def of_worker(self, worker: int = 0, workers: int = 1) -> Iterator[list[int]]:
        """What one of several loaders makes from here to the end of the epoch, counting nothing: who collects from them in turn
        adds to ``step``.
        """
        share = LoaderRank(self.share.rank, self.share.ranks, worker, workers)
        return self.order.batches(self.epoch, share, self.step)

    def end_epoch(self) -> None:
        """Go on to the first batch of the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on with exactly the same samples: plain numbers."""
        order = self.order
        return {
            "epoch": self.epoch, "step": self.step, "count": order.count, "size": order.size, "seed": order.seed,
            "drop_last": order.drop_last, "lanes": order.lanes,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another Feed was; raises RefusedError when its order was another one."""
        mine = self.state_dict()
        differ = [n for n in ORDER if mine[n] != state.get(n, False)]
        if differ:
            changes = ", ".join(f"{name} {state.get(name)} -> {mine[name]}" for name in differ)
            raise RefusedError(
                f"the state belongs to another order of samples ({changes}): use the same data and settings"
            )
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
