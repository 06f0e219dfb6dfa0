"""Several sample sets as one, and epochs that mix weakly labelled and annotated samples in a fixed proportion."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.seeds import seed_for
from pipeline.shards.epoch_order import EpochOrder
from procrop_model.training.samples import CanvasSample, Samples


class ConcatenatedSamples(Sequence[CanvasSample]):
    """The samples of the first set, then of the second. Raises UsageError when two share a key."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        self._parts = [part for part in parts if len(part)]
        self._starts = [0, *accumulate(len(part) for part in self._parts)]
        self.keys = [key for part in self._parts for key in part.keys]
        if len(set(self.keys)) < len(self.keys):
            twice = next(key for key, count in Counter(self.keys).items() if count > 1)
            raise UsageError(f"two data sets both have a sample '{twice}': name each folder once")

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> CanvasSample:  # type: ignore[override]  # no slices: they would load many
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._starts, index) - 1
        return self._parts[part][index - self._starts[part]]

    def labels(self) -> Iterator[CanvasSample]:
        """All samples with their image bytes left empty."""
        for part in self._parts:
            yield from part.labels()


class MixedOrder(EpochOrder):
    """Epochs of all ``weak`` canvases, each once, and as many annotated pictures as make up ``share`` of what is shown.

    Annotated pictures have the positions after the weak ones. They come in turn: each of them once before any comes again, and an
    epoch goes on where the last one stopped.
    """

    def __init__(self, weak: int, annotated: int, share: float, size: int, seed: int) -> None:
        self.weak, self.annotated = weak, annotated
        self.drawn = max(1, round(weak * share / (1 - share)))
        super().__init__(weak + self.drawn, size, seed, lanes=True)

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """Positions [weak + drawn] in the order of an epoch."""
        turns = range(epoch * self.drawn, (epoch + 1) * self.drawn)
        rounds = {turn // self.annotated for turn in turns}
        orders = {
            number: np.random.default_rng(seed_for(self.seed, "annotated", str(number))).permutation(self.annotated)
            for number in rounds
        }
        shown = [self.weak + int(orders[turn // self.annotated][turn % self.annotated]) for turn in turns]
        all_shown = np.concatenate([np.arange(self.weak), np.array(shown, np.int64)])
        return all_shown[super().permutation(epoch)]
