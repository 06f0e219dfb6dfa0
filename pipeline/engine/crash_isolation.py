"""Finding the sample that crashes its process. Executors start the processes; this module decides what their crashes mean.

A shard whose process died is tried again beside the other shards; after the second crash it waits until they are done and runs
alone. If its process dies again, the current micro-batch is bisected, each half in a fresh process, down to single samples. A
sample is listed as crashing only if it crashed a process that worked on it alone, twice, and only if not every sample does: on a
machine where everything crashes (too little memory, a broken model) no sample is at fault, and the run ends.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from pipeline.core.errors import ProcropError
from pipeline.core.stage import Stage
from pipeline.engine.shard_runner import attempt, shard_identity
from pipeline.runs.crash_list import add_crashed, read_crashed
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run

TRIES = 2
Kills = Callable[[Sequence[str]], str]


class DeathCounter:
    """Counts the deaths of ``workers`` worker processes: by shard, and in a row without any finished work between them."""

    def __init__(self, workers: int) -> None:
        self._by_shard: Counter[Hashable] = Counter()
        # Each worker may die twice, on a bad shard of its own, before the machine itself is suspected.
        self._in_a_row, self._limit = 0, 2 * workers + 2

    def add(self, shard: Hashable) -> bool:
        """Count a death; gives whether the shard may be tried again beside others."""
        self._by_shard[shard] += 1
        self._in_a_row += 1
        return self._by_shard[shard] < TRIES

    def progress(self) -> None:
        """A worker finished a micro-batch or a shard."""
        self._in_a_row = 0

    @property
    def exceeded(self) -> bool:
        """Whether so many died in a row that the number of workers seems to be the cause, for example by their memory."""
        return self._in_a_row >= self._limit


def workers_died(stage: str) -> ProcropError:
    """The error of a run that ends because its workers die."""
    return ProcropError(
        f"a worker process died in {stage}, again and again and not for one sample's sake (out of memory?): what was "
        "committed is intact; run again, with fewer --workers if memory was short"
    )


@dataclass(frozen=True)
class Attempt:
    """How a fresh process ended that did a shard, or tried samples of it.

    Args:
        receipt: of the shard; None when it was not done, or only samples were tried.
        death: how the process died; empty when it lived.
        start: the micro-batch that was in work then, by its first task; -1 between micro-batches.
    """

    receipt: Receipt | None
    death: str
    start: int


def run_isolated(stage: Stage, run: Run, shard: int, attempt_in_process: Callable[[Sequence[str]], Attempt]) -> Receipt:
    """Do a shard while no other shard is in work, and leave out the samples that crash its process even so.

    attempt_in_process(keys): does the shard in a fresh process or, with keys, tries these samples only.
    """
    tries = 0
    while tries < TRIES:
        result = attempt_in_process(())
        if result.receipt is not None:
            return result.receipt
        crashing = result.start >= 0 and record_crashing(
            stage, run, shard, result.start, lambda keys: attempt_in_process(keys).death
        )
        tries = 0 if crashing else tries + 1
    raise workers_died(stage.name)


def record_crashing(stage: Stage, run: Run, shard: int, start: int, kills: Kills) -> bool:
    """Find and store the crashing samples of the micro-batch at ``start``; False when none crashes its process alone.

    kills(keys): how a fresh process died that worked on these samples only; empty when it lived. Raises ProcropError when
    every sample crashes.
    """
    identity = shard_identity(stage, run.inputs_of(stage, shard), run)
    known = read_crashed(run.store, stage.name, shard, identity)
    keys = [task.key for task in stage.tasks(run.shard(stage, shard))]
    batch = [key for key in keys[start : start + stage.micro_batch] if key not in known]
    others = [key for key in keys if key not in known and key not in batch]
    crashing = bisect_crashes(batch, kills)
    if len(crashing) == len(batch) and (kills(others[:1]) if others else len(batch) > 1):
        raise workers_died(stage.name)
    if crashing:
        add_crashed(run.store, stage.name, shard, identity, crashing)
    return bool(crashing)


def bisect_crashes(batch: Sequence[str], kills: Kills) -> dict[str, str]:
    """The samples of a crashing micro-batch that crash a process alone, twice; key -> how it died."""
    if len(batch) == 1:
        death = kills(batch) and kills(batch)
        return {batch[0]: death} if death else {}
    half = len(batch) // 2
    crashing: dict[str, str] = {}
    for part in (batch[:half], batch[half:]):
        if part and (len(part) == 1 or kills(part)):
            crashing.update(bisect_crashes(part, kills))
    return crashing


def try_samples(stage: Stage, run: Run, shard: int, keys: Sequence[str]) -> None:
    """Work on some samples of a shard and discard the outcomes, to see whether the process survives."""
    given = run.shard(stage, shard)
    wanted = set(keys)
    attempt(stage, [task for task in stage.tasks(given) if task.key in wanted], given)
