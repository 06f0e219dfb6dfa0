"""While a micro-batch is with the model, the next one is decoded and the one before is encoded, so that the model never waits.

At most three micro-batches are in memory. Which samples share one, and the order of outcomes, are as without it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.core.stage import Outcome, Shard, SplitStage, Task

Batch = Sequence[Task]


@dataclass(frozen=True)
class Steps:
    """begin(index): before a micro-batch is computed; raises to stop there, once what is done was handed out.

    failed(batch, error): outcomes of a micro-batch that raised ``error``, or raises.
    """

    begin: Callable[[int], None]
    failed: Callable[[Batch, Exception], list[Outcome]]


def overlapped(stage: SplitStage, shard: Shard, batches: Sequence[Batch], steps: Steps) -> Iterator[list[Outcome]]:
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
            now = _under_way(stage, batch, prepared.pop(0), behind, steps)
            if last is not None:
                yield last()
            last = now
        if last is not None:
            yield last()


def _under_way(
    stage: SplitStage, batch: Batch, prepared: "Future[Any]", behind: ThreadPoolExecutor, steps: Steps
) -> Callable[[], list[Outcome]]:
    """Compute a micro-batch and leave its end to another thread; gives what waits for its outcomes."""
    try:
        ready = prepared.result()
        end = behind.submit(stage.finish, batch, ready, stage.compute(ready))
    except Exception as error:  # noqa: BLE001 - the caller knows which of them are a sample's fault
        caught = error
        return lambda: steps.failed(batch, caught)

    def outcomes() -> list[Outcome]:
        try:
            return end.result()
        except Exception as error:  # noqa: BLE001 - as above
            return steps.failed(batch, error)

    return outcomes
