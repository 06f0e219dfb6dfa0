"""Prefetching: threads decode and augment the next batches while the network computes the present one."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from procrop_model.training.augment import AugmentConfig
from procrop_model.training.views import View, Views

Place = tuple[int, int]


class PrefetchedViews:
    """Views, of which those of the next batches are drawn by ``workers`` threads; with 0 each is drawn on access.

    A view's draws are seeded by its sample and number, so what comes out does not depend on the workers. Threads, not processes:
    Pillow and NumPy let go of the interpreter for the heavy part, and what is drawn need not travel. Raises what drawing
    raises, in the calling thread.
    """

    def __init__(self, views: Views, workers: int, depth: int = 2) -> None:
        self.views = views
        self.samples, self.seed = views.samples, views.seed
        self._depth = depth
        self._pool = ThreadPoolExecutor(workers, "draw") if workers else None
        self._drawing: dict[Place, Future[View]] = {}

    def get(self, index: int, number: int, augmentation: AugmentConfig | None) -> View:
        """As ``Views.get``."""
        begun = self._drawing.pop((index, number), None)
        if begun is None:
            return self.views.get(index, number, augmentation)
        made = self.views.with_features(begun.result())
        self.views.keep(index, number, made)
        return made

    def follow(
        self, batches: Iterator[list[int]], number: int, augmentation: AugmentConfig | None
    ) -> Iterator[list[int]]:
        """The batches as they are, each handed out after the drawing of those behind it was begun."""
        waiting: deque[list[int]] = deque()
        for batch in batches:
            self._begin(batch, number, augmentation)
            waiting.append(batch)
            if len(waiting) > self._depth:
                yield waiting.popleft()
        yield from waiting

    def _begin(self, batch: list[int], number: int, augmentation: AugmentConfig | None) -> None:
        if self._pool is None:
            return
        for index in batch:
            if (index, number) not in self._drawing and not self.views.has(index, number):
                self._drawing[index, number] = self._pool.submit(self.views.drawn, index, number, augmentation)

    def close(self) -> None:
        """Stops the threads."""
        self._drawing.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
