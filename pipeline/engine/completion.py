"""Which shards of a stage are still to do: the question of ``status --missing`` and of array jobs."""

from pipeline.core.errors import MissingUpstreamError
from pipeline.core.stage import Stage
from pipeline.runs.run_directory import Run


def shards_to_do(stage: Stage, run: Run) -> list[int]:
    """Shards without a receipt, or whose input or files are no longer those of the receipt. Raises DamagedDataError."""
    return [number for number in range(stage.shards(run.plan.work_shards)) if not _is_done(stage, run, number)]


def _is_done(stage: Stage, run: Run, number: int) -> bool:
    receipt = run.receipt(stage.name, number)
    if receipt is None:
        return False
    try:
        inputs = run.inputs_of(stage, number)
    except MissingUpstreamError:
        return False
    return receipt.inputs == inputs and all(run.store.exists(path) for path in receipt.outputs)
