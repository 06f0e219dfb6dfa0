"""Finding the sample that kills its process. The executor brings processes; what to conclude from their deaths is decided here.

A shard whose process died is tried again among the others; after the second death it waits until they are done and is done
alone. If its process dies even so, the micro-batch in hand is halved, a fresh process a half, down to single samples. One is
blamed only when it killed a process that worked on it alone, twice, and only when not every sample does: a machine that kills
everything (short of memory, a broken model) is not a sample's fault, and ends the run.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from pipeline.core.errors import ProcropError
from pipeline.core.seeds import digest_of
from pipeline.core.stage import Stage
from pipeline.engine.shard_runner import attempt
from pipeline.runs.crash_list import add_crashed, read_crashed
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run, recipe_of

TRIES = 2
Kills = Callable[[Sequence[str]], str]


class Deaths:
    """Counts deaths in a crowd of workers. barren: how many may follow one another without any work done in between."""

    def __init__(self, workers: int) -> None:
        self._by_shard: Counter[Hashable] = Counter()
        self._in_a_row, self._barren = 0, 2 * workers + 2

    def another(self, shard: Hashable) -> bool:
        """Count a death; gives whether the shard may be tried again among the others."""
        self._by_shard[shard] += 1
        self._in_a_row += 1
        return self._by_shard[shard] < TRIES

    def progress(self) -> None:
        """Some worker finished something."""
        self._in_a_row = 0

    @property
    def hopeless(self) -> bool:
        """Whether the crowd itself seems to be the trouble, as where memory is short for so many workers."""
        return self._in_a_row >= self._barren


def died(stage: str) -> ProcropError:
    """The one line of a run that deaths ended."""
    return ProcropError(
        f"a worker process died in {stage}, again and again and not for one sample's sake (out of memory?): what was "
        "committed is intact; run again, with fewer --workers if memory was short"
    )


def alone(
    stage: Stage, run: Run, shard: int, single: Callable[[Sequence[str]], tuple[Receipt | None, str, int]]
) -> Receipt:
    """Do a shard with no other at work, and leave out what kills its process even so.

    single(keys): what a fresh process came to that did the shard or, with keys, tried these samples: the receipt, how it
    died (empty when it lived), and the micro-batch in hand then, -1 outside of one.
    """
    tries = 0
    while tries < TRIES:
        receipt, _, start = single(())
        if receipt is not None:
            return receipt
        found = start >= 0 and blame(stage, run, shard, start, lambda keys: single(keys)[1])
        tries = 0 if found else tries + 1
    raise died(stage.name)


def blame(stage: Stage, run: Run, shard: int, start: int, kills: Kills) -> bool:
    """Find and remember the deadly samples of the micro-batch at ``start``; False when none is deadly by itself.

    kills(keys): how a fresh process died that worked on these samples and nothing else; empty when it lived. Raises
    ProcropError when everything kills.
    """
    identity = identity_of(stage, run, shard)
    known = read_crashed(run.store, stage.name, shard, identity)
    keys = [task.key for task in stage.tasks(run.shard(stage, shard))]
    batch = [key for key in keys[start : start + stage.micro_batch] if key not in known]
    others = [key for key in keys if key not in known and key not in batch]
    found = culprits(batch, kills)
    if len(found) == len(batch) and (kills(others[:1]) if others else len(batch) > 1):
        raise died(stage.name)
    if found:
        add_crashed(run.store, stage.name, shard, identity, found)
    return bool(found)


def culprits(batch: Sequence[str], kills: Kills) -> dict[str, str]:
    """Which of a deadly micro-batch kill a process alone, twice, and how it died."""
    if len(batch) == 1:
        deaths = [kills(batch), kills(batch)]
        return {batch[0]: deaths[-1]} if all(deaths) else {}
    half = len(batch) // 2
    found: dict[str, str] = {}
    for part in (batch[:half], batch[half:]):
        if part and (len(part) == 1 or kills(part)):
            found.update(culprits(part, kills))
    return found


def probe(stage: Stage, run: Run, shard: int, keys: Sequence[str]) -> None:
    """Work on some samples of a shard and throw the result away: the only question is whether the process lives."""
    given = run.shard(stage, shard)
    wanted = set(keys)
    attempt(stage, [task for task in stage.tasks(given) if task.key in wanted], given)


def identity_of(stage: Stage, run: Run, shard: int) -> str:
    """Fingerprint of what a shard is made from and how, as its journal names it."""
    return digest_of([recipe_of(stage), run.inputs_of(stage, shard)])
