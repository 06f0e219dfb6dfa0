"""The order of samples in training: a function of seed, epoch and step only, for any number of ranks and workers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import RefusedError, UsageError
from pipeline.core.seeds import seed_for

ORDER = ("count", "size", "seed", "drop_last", "lanes")  # the fields of a state that identify the order


@dataclass(frozen=True)
class LoaderRank:
    """Position of a data loader among all of a training.

    Args:
        rank: of this process, over all nodes.
        ranks: number of processes.
        worker: of this loader within its process.
        workers: number of loaders of a process.

    Raises UsageError when rank or worker is not below its number.
    """

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.ranks and 0 <= self.worker < self.workers):
            raise UsageError(f"{self} is not possible: rank and worker count from 0 and are below ranks and workers")


class EpochOrder:
    """Global batches of sample positions, shuffled each epoch.

    Every rank gets the same number of batches. Batch k of all ranks together is the k-th ``size`` samples of the epoch's
    permutation, dealt out in turn, so the parts of two ranks differ by at most one sample. The last batch of an epoch may be
    smaller; a rank that would get nothing of it gets a copy of its first sample. Memory: 8 bytes a sample, for the permutation.

    Args:
        count: number of samples.
        size: samples of a batch, over all ranks.
        seed: of the permutations.
        drop_last: leave out an incomplete last batch.
        lanes: keep the place of a sample within the batch, ``position % size``, in every epoch (the shuffle is then within
            each lane), so that the same rank gets it again and may use what it cached.
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
        """Batches of a rank in an epoch, from number ``start`` on; worker w of W makes numbers start + w + n W."""
        share = share or LoaderRank()
        order = self.permutation(epoch)
        if self.lanes:
            order = in_lanes(order, self.size)
        for number in range(start + share.worker, self.batches_an_epoch, share.workers):
            whole = order[number * self.size : (number + 1) * self.size].tolist()
            yield whole[share.rank :: share.ranks] or whole[:1]

    def has_own(self, number: int, share: LoaderRank) -> bool:
        """Whether a rank's part of a batch holds samples of its own; else it is a copy that must not be counted."""
        return share.rank < min(self.size, self.count - number * self.size)


def in_lanes(order: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The positions [count] reordered so that position p is at an index equal to p modulo ``size``, stable within each lane.

    When lanes differ in length, the surplus of the longer ones fills the places that the shorter ones leave.
    """
    lane = order % size
    by_lane = np.argsort(lane, kind="stable")
    counts = np.bincount(lane, minlength=size)
    row = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = row * size + lane[by_lane]
    fits = place < len(order)
    reordered = np.full(len(order), -1, np.int64)
    reordered[place[fits]] = order[by_lane[fits]]
    reordered[reordered < 0] = order[by_lane[~fits]]
    return reordered


class FeedState(TypedDict):
    """The state of a ``Feed``, as plain numbers for a checkpoint."""

    epoch: int
    step: int
    count: int
    size: int
    seed: int
    drop_last: bool
    lanes: bool


class Feed:
    """The resumable position of a training in an ``EpochOrder``. The state is the same for all ranks and numbers of workers.

    Iterating gives the rank's batches to the end of the epoch and counts each when it is given: a state taken while a batch is
    in use continues with the next one. Call ``end_epoch`` after the last.

    Args:
        order: of the samples.
        rank: of this process.
        ranks: number of processes.
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
        """Batches of one of several loaders to the end of the epoch. It does not count them: the collector of all loaders adds
        to ``step``.
        """
        share = LoaderRank(self.share.rank, self.share.ranks, worker, workers)
        return self.order.batches(self.epoch, share, self.step)

    def end_epoch(self) -> None:
        """Go on to the first batch of the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> FeedState:
        """What ``load_state_dict`` needs to continue with exactly the same samples."""
        order = self.order
        return {
            "epoch": self.epoch, "step": self.step, "count": order.count, "size": order.size, "seed": order.seed,
            "drop_last": order.drop_last, "lanes": order.lanes,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where another Feed was; raises RefusedError when its order was another one."""
        mine: Mapping[str, object] = self.state_dict()
        differ = [n for n in ORDER if mine[n] != state.get(n, False)]
        if differ:
            changes = ", ".join(f"{name} {state.get(name)} -> {mine[name]}" for name in differ)
            raise RefusedError(
                f"the state belongs to another order of samples ({changes}): use the same data and settings"
            )
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
