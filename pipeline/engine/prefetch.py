"""While the model computes a micro-batch, the next one is decoded and the last one is encoded, so that the model never waits.

At most three micro-batches are in memory. Micro-batches and the order of outcomes are the same as without prefetching.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.core.stage import Computed, Outcome, P, Prepared, Shard, SplitStage, Task

Batch = Sequence[Task]


@dataclass(frozen=True)
class BatchHooks:
    """Callbacks of ``prefetched``.

    Args:
        begin: called with the index of a micro-batch before it is computed; when it raises, the outcomes of those before are
            given first.
        failed: outcomes of a micro-batch that raised an error, or raises.
    """

    begin: Callable[[int], None]
    failed: Callable[[Batch, Exception], list[Outcome]]


def prefetched(stage: SplitStage, shard: Shard, batches: Sequence[Batch], steps: BatchHooks) -> Iterator[list[Outcome]]:
    """Outcomes of each micro-batch of a stage, in order."""
    with ThreadPoolExecutor(1, "prepare") as ahead, ThreadPoolExecutor(1, "finish") as behind:
        prepared = [ahead.submit(stage.prepare, batches[0], shard)] if batches else []
        last: Callable[[], list[Outcome]] | None = None
        for index, batch in enumerate(batches):
            if index + 1 < len(batches):
                prepared.append(ahead.submit(stage.prepare, batches[index + 1], shard))
            try:
                steps.begin(index)
            except Exception:
                if last is not None:
                    yield last()
                raise
            now = _start(stage, batch, prepared.pop(0), behind, steps)
            if last is not None:
                yield last()
            last = now
        if last is not None:
            yield last()


def _start(
    stage: SplitStage[P, Prepared, Computed],
    batch: Sequence[Task[P]],
    prepared: "Future[Prepared]",
    behind: ThreadPoolExecutor,
    steps: BatchHooks,
) -> Callable[[], list[Outcome]]:
    """Compute a micro-batch and encode it in another thread; gives a function that waits for its outcomes."""
    try:
        ready = prepared.result()
        end = behind.submit(stage.finish, batch, ready, stage.compute(ready))
    except Exception as error:  # noqa: BLE001 - the caller decides which errors a sample caused
        caught = error
        return lambda: steps.failed(batch, caught)

    def outcomes() -> list[Outcome]:
        try:
            return end.result()
        except Exception as error:  # noqa: BLE001 - as above
            return steps.failed(batch, error)

    return outcomes
