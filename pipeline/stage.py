"""The one protocol that the runner sees. A stage turns the tasks of a work shard into outcomes, micro-batch by micro-batch.

Which tasks share a micro-batch follows from the shard alone, so a rerun, or a resume in the middle, gives the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

KEPT, REJECTED, FAILED = "kept", "rejected", "failed"


@dataclass(frozen=True)
class Task:
    """One unit of input: ``key`` is the key of the row it becomes."""

    key: str
    payload: Any


@dataclass(frozen=True)
class Outcome:
    """What became of one task; exactly one a task."""

    key: str
    status: str
    reason: str = ""
    detail: str = ""
    record: Any = None
    image: bytes | None = None

    @staticmethod
    def kept(record: Any, image: bytes | None = None) -> "Outcome":
        """A row that goes on to the next stage; ``image`` is the encoded file for the shard's tar."""
        return Outcome(record.key, KEPT, record=record, image=image)

    @staticmethod
    def rejected(key: str, reason: str, detail: str = "", record: Any = None) -> "Outcome":
        """A row dropped on purpose, with its fixed word."""
        return Outcome(key, REJECTED, reason, detail, record)

    @staticmethod
    def failed(key: str, error: BaseException) -> "Outcome":
        """A row that an error stopped; the reason is the class of the error."""
        return Outcome(key, FAILED, type(error).__name__, str(error)[:500])


@dataclass(frozen=True)
class Shard:
    """What a stage may read of one work shard.

    rows(stage): kept rows of an upstream stage in this shard, as dicts, in table order.
    image(stage, key): encoded bytes of one image of an upstream stage in this shard.
    folder(stage): the fsspec URL or path of an upstream stage's shared files (an index, a calibration).
    """

    number: int
    count: int
    run_seed: int
    rows: Callable[[str], list[dict[str, Any]]]
    image: Callable[[str, str], bytes]
    shared: Mapping[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """A verb of the pipeline. Instances are small and picklable; models load lazily in the worker that uses them.

    name: also its folder in the run directory, e.g. ``outpaint`` or ``refine/round-01``.
    version: of the code; raised whenever the same input and settings give other output.
    record: the dataclass of a row. reasons: the fixed words that it may reject with.
    images: extension of the images it writes, or "" when it writes a table only.
    """

    name: str
    version: int
    upstream: tuple[str, ...]
    record: type
    reasons: tuple[str, ...]
    images: str
    micro_batch: int

    def settings(self) -> dict[str, Any]:
        """JSON parameters that shape the output."""
        ...

    def models(self) -> dict[str, str]:
        """Role -> digest of each model that shapes the output."""
        ...

    def tasks(self, shard: Shard) -> list[Task]:
        """All tasks of a shard, in an order fixed by their keys."""
        ...

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        """Outcomes of one micro-batch, one a task, in the same order."""
        ...


class SharedStep(Protocol):
    """Optional on a stage: work over all upstream shards, done once before its own shards (an index, a calibration)."""

    def prepare(self, tables: Callable[[str], list[dict[str, Any]]]) -> dict[str, bytes]:
        """Files by name, from ``tables(upstream stage)`` -> all kept rows of the run, ordered by key."""
        ...
