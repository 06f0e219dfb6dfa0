"""The shards of one task of an array job, from the environment variables of Slurm or Kubernetes alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.errors import UsageError

COUNT = "PROCROP_ARRAY_COUNT"
WAIT = "PROCROP_ARRAY_WAIT"
KUBERNETES = "JOB_COMPLETION_INDEX"
SLURM = "SLURM_ARRAY_TASK_ID"
SLURM_SHAPE = ("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT")


@dataclass(frozen=True)
class ArrayShare:
    """The shards n with n % count == index; with count 0, shard ``index`` alone."""

    index: int
    count: int = 0

    def of(self, total: int) -> list[int]:
        """The task's shards among ``total``, ascending; every shard is in exactly one task's share."""
        if self.count:
            return list(range(self.index, total, self.count))
        return [self.index] if self.index < total else []

    @property
    def kind(self) -> str:
        """How the array divides the shards; arrays of different kinds must not run at once."""
        return f"of-{self.count}" if self.count else "by-number"

    def __str__(self) -> str:
        return f"task {self.index} of {self.count}" if self.count else f"task {self.index}, by shard numbers"

    def require_some(self, total: int) -> None:
        """Raise UsageError when no stage with ``total`` shards at most has any for this task."""
        if not self.of(total):
            raise UsageError(
                f"array index {self.index} has nothing to do: there are {total} shards, 0-{total - 1}; use --array=0-{total - 1} "
                f"or fewer tasks"
            )


def share_from_environment(environment: Mapping[str, str]) -> ArrayShare:
    """The share of this task by its environment variables. Raises UsageError when they are missing or out of range.

    Kubernetes: ``JOB_COMPLETION_INDEX`` of ``PROCROP_ARRAY_COUNT``. Slurm: an array from 0 without gaps divides all shards among
    its tasks; other indices are shard numbers, as ``status --missing --slurm`` prints them. ``PROCROP_ARRAY_COUNT`` beside
    Slurm's variables: the array has so many tasks, of which only some run again.
    """
    if SLURM in environment:
        index = _number(environment, SLURM)
        if COUNT in environment:
            return _ranked(index, _number(environment, COUNT), SLURM)
        low, high, count = (_number(environment, name) for name in SLURM_SHAPE)
        if not low <= index <= high:
            raise UsageError(f"{SLURM}={index} is out of range: the array goes from {low} to {high}")
        return ArrayShare(index, count) if low == 0 and count == high + 1 else ArrayShare(index)
    if KUBERNETES in environment:
        if COUNT not in environment:
            raise UsageError(
                f"{KUBERNETES} is set, but {COUNT} is not: give the pod the Job's number of completions in it"
            )
        return _ranked(_number(environment, KUBERNETES), _number(environment, COUNT), KUBERNETES)
    raise UsageError(
        f"--executor array: this is no task of an array: want {SLURM} (sbatch --array) or {KUBERNETES} and {COUNT} (an Indexed Job)"
    )


def waiting_time(environment: Mapping[str, str]) -> float:
    """Seconds that a task waits for the shards of other tasks where it needs all shards."""
    return float(_number(environment, WAIT)) if WAIT in environment else 0.0


def _ranked(index: int, count: int, name: str) -> ArrayShare:
    if not 0 <= index < count:
        raise UsageError(f"{name}={index} is out of range: {COUNT}={count} tasks have the indices 0 to {count - 1}")
    return ArrayShare(index, count)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdecimal():
        raise UsageError(f"{name}='{text}': want a whole number, as a batch system sets it")
    return int(text)
