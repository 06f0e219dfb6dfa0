"""When work is done: its receipt names today's recipe and inputs, and every file that the receipt names is there.

``reopen`` and ``reopen_outdated`` remove receipts; the others are queries, which change nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from pipeline.core.errors import MissingUpstreamError
from pipeline.core.stage import Stage
from pipeline.runs.final_shard_diff import retire
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run, receipt_path, recipe_of

Retry = Callable[[Receipt], bool]


class ShardState(Enum):
    """ABSENT: without a receipt. OUTDATED: with a receipt that no longer holds, or whose failed samples are tried again."""

    DONE = "done"
    OUTDATED = "outdated"
    ABSENT = "absent"


def no_retry(receipt: Receipt) -> bool:
    """Do no shard again that is done."""
    return False


def receipt_holds(receipt: Receipt, stage: Stage, run: Run, inputs: Mapping[str, str]) -> bool:
    """Whether a receipt of a shard, a prologue or an epilogue vouches for what ``stage`` would make of ``inputs``."""
    same = receipt.inputs == inputs and receipt.recipe == recipe_of(stage)
    return same and all(run.store.exists(path) for path in receipt.outputs)


def shard_state(stage: Stage, run: Run, shard: int, retry: Retry = no_retry) -> ShardState:
    """The state of one shard. retry: which receipts are to be made again although they hold. Raises DamagedDataError.

    A shard whose upstream is not done is not done either.
    """
    receipt = run.receipt(stage.name, shard)
    if receipt is None:
        return ShardState.ABSENT
    try:
        inputs = run.inputs_of(stage, shard)
    except MissingUpstreamError:
        return ShardState.OUTDATED
    done = receipt_holds(receipt, stage, run, inputs) and not retry(receipt)
    return ShardState.DONE if done else ShardState.OUTDATED


def shards_to_do(stage: Stage, run: Run) -> list[int]:
    """Numbers of the shards that are not done, ascending. Raises DamagedDataError."""
    shards = range(stage.shards(run.plan.work_shards))
    return [shard for shard in shards if shard_state(stage, run, shard) is not ShardState.DONE]


def reopen(stage: Stage, run: Run, shard: int) -> None:
    """Remove the receipt of an outdated shard.

    Raises MissingUpstreamError, and keeps the receipt, when the shard cannot be made.
    """
    run.inputs_of(stage, shard)
    retire(run, receipt_path(stage.name, shard))


def reopen_outdated(stage: Stage, run: Run, shards: Iterable[int], retry: Retry = no_retry) -> list[int]:
    """Reopen the outdated ones of ``shards``; gives the numbers of those that are not done, in their order.

    Raises MissingUpstreamError, before any receipt is removed, when the first of them cannot be made.
    """
    states = {shard: shard_state(stage, run, shard, retry) for shard in shards}
    to_do = [shard for shard, state in states.items() if state is not ShardState.DONE]
    if to_do:
        run.inputs_of(stage, to_do[0])
    for shard in to_do:
        if states[shard] is ShardState.OUTDATED:
            reopen(stage, run, shard)
    return to_do
