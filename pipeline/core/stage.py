"""The contract between the runner and a stage: a stage turns the tasks of a shard into outcomes, micro-batch by micro-batch.

The tasks of a micro-batch follow from the shard alone, so a rerun, or a resume in the middle of a shard, gives the same bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol

from typing_extensions import TypeVar

from pipeline.core.json_types import JsonObject

if TYPE_CHECKING:
    import pyarrow as pa

KEPT, REJECTED, FAILED = "kept", "rejected", "failed"
Rows = list[dict[str, Any]]
# Environment variable with a worker's number among those of its machine, so that each can use a device of its own.
WORKER_SLOT = "PROCROP_WORKER_SLOT"


class DataclassType(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class TableRecord(DataclassType, Protocol):
    """A row: a dataclass with a key (``pipeline.core.records``)."""

    @property
    def key(self) -> str: ...


R = TypeVar("R", bound=DataclassType)
P = TypeVar("P", default=Any)  # payload of a task
Prepared = TypeVar("Prepared", default=Any)
Computed = TypeVar("Computed", default=Any)


def verb_of(name: str) -> str:
    """The verb of a stage by its name: ``refine`` of ``refine/round-02``."""
    return name.partition("/")[0]


@dataclass(frozen=True)
class Task(Generic[P]):
    """One unit of input: ``key`` is the key of the row that it becomes; ``payload``: what its stage needs to make it."""

    key: str
    payload: P


@dataclass(frozen=True)
class Outcome:
    """The result of one task; exactly one for each.

    files: extension -> bytes, the members of its sample in the tar.
    """

    key: str
    status: str
    reason: str = ""
    detail: str = ""
    record: TableRecord | None = None
    files: Mapping[str, bytes] | None = None

    @staticmethod
    def kept(record: TableRecord, files: Mapping[str, bytes] | None = None) -> "Outcome":
        """A row that goes on to the next stage."""
        return Outcome(record.key, KEPT, record=record, files=files)

    @staticmethod
    def rejected(
        key: str,
        reason: str,
        detail: str = "",
        record: TableRecord | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> "Outcome":
        """A row dropped on purpose, with the fixed word of its reason; ``files`` when a report should be able to show it."""
        return Outcome(key, REJECTED, reason, detail, record, files)

    @staticmethod
    def failed(key: str, error: BaseException) -> "Outcome":
        """A row that an error stopped; the reason is the error's class, or its own word."""
        reason = getattr(error, "reason", None) or type(error).__name__
        return Outcome(key, FAILED, str(reason), f"{type(error).__name__}: {error}"[:500])


class ShardReceipt(Protocol):
    """What a prologue or epilogue may know of a shard that is done (``pipeline.runs.receipts.Receipt``)."""

    @property
    def shard(self) -> int: ...
    @property
    def n_in(self) -> int: ...
    @property
    def n_kept(self) -> int: ...
    @property
    def n_rejected(self) -> Mapping[str, int]: ...
    @property
    def n_failed(self) -> Mapping[str, int]: ...
    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def recipe(self) -> Mapping[str, Any]: ...


class ShardRows(Protocol):
    """Reads the kept rows of an upstream stage in this shard, in table order."""

    def __call__(self, stage: str, record: type[R], /) -> list[R]: ...


class TableRows(Protocol):
    """Reads the kept rows of any shard of a stage, by key."""

    def __call__(self, stage: str, shard: int, record: type[R], /) -> list[R]: ...


class PluginSource(Protocol):
    """The code of a stage of another package."""

    @property
    def digest(self) -> str:
        """Package, version, and a hash of its source."""


@dataclass(frozen=True)
class Shard:
    """What a stage may read while it works on one shard.

    rows(stage, record): kept rows of an upstream stage in this shard as objects of the dataclass ``record``, in table order.
    Its fields name the columns that are read: the stage's own record, or fewer, or ``image_offset`` and its like as well.
    image(stage, key): encoded bytes of an image of an upstream stage in this shard.
    read_range(path, offset, size): bytes of any file of the run directory. shared(name): a file of the stage's prologue.
    """

    number: int
    count: int
    run_seed: int
    rows: ShardRows
    image: Callable[[str, str], bytes]
    read_range: Callable[[str, int, int], bytes]
    shared: Callable[[str], bytes]


@dataclass(frozen=True)
class Tables:
    """What a prologue or epilogue may read of all shards, one shard at a time, so that memory does not grow with the run.

    receipts(stage): one a shard, by shard. rows(stage, shard, record): kept rows, by key, as ``Shard.rows`` gives them.
    columns(stage, shard, columns): the same as an Arrow table; all columns for None. path(stage, shard): its tar, for
    ``read_range(path, offset, size)``. shared(path): a prologue's file of ``Stage.reads_shared``, e.g. ``build/leaks.json``.
    """

    run_seed: int
    receipts: Callable[[str], Sequence[ShardReceipt]]
    rows: TableRows
    columns: "Callable[[str, int, Sequence[str] | None], pa.Table]"
    path: Callable[[str, int], str]
    read_range: Callable[[str, int, int], bytes]
    shared: Callable[[str], bytes]

    def shards(self, stage: str) -> list[int]:
        """The shards of a stage that are done, ascending."""
        return [receipt.shard for receipt in self.receipts(stage)]


class Stage(ABC, Generic[P]):
    """A step of the pipeline. Instances are picklable; their models load lazily in the worker that uses them.

    P: type of its tasks' payload.
    name: also its folder in the run directory, e.g. ``outpaint`` or ``refine/round-01``.
    round: number of its round, from 1; 0 for a stage without rounds.
    version: of the code; raised whenever the same input and settings give other output.
    reads: by upstream stage, the records whose fields it reads (``pipeline.core.records.ImageBytes``: the image, too), in shards
        and prologue. A shard is made again only when one of these changes; without an entry, when anything does.
    record: the dataclass of a row. reasons: the fixed words that it may reject with.
    extensions: of the files it writes into a tar a shard, in order; empty when it writes tables only.
    prologue_needed / epilogue_needed: whether it works over all shards before or after its own.
    regroups: its shards are not the run's work shards; it reads upstream through its prologue only.
    reads_shared: files of other stages' prologues that its own prologue reads, as ``stage/file``.
    plugin: code of a stage of another package; its digest is part of the stage's recipe.
    hidden_by: upstream stages whose dropped samples it does not see, in whatever table it reads.
    """

    name: str
    round: int = 0
    version: int = 1
    upstream: tuple[str, ...] = ()
    reads: Mapping[str, Sequence[type]] = MappingProxyType({})
    record: type
    reasons: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    micro_batch: int = 8
    prologue_needed: bool = False
    epilogue_needed: bool = False
    regroups: bool = False
    reads_shared: tuple[str, ...] = ()
    plugin: PluginSource | None = None
    hidden_by: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        """What it does, in one word: the name that all its rounds share."""
        return verb_of(self.name)

    def columns_read(self, upstream: str) -> frozenset[str] | None:
        """Names of the columns of an upstream stage that it reads, from ``reads``; None for all."""
        records = self.reads.get(upstream)
        return None if records is None else frozenset(one.name for record in records for one in fields(record))

    @abstractmethod
    def settings(self) -> JsonObject:
        """JSON parameters that shape the output."""

    def models(self) -> dict[str, str]:
        """Role -> digest of each model that shapes the output."""
        return {}

    def digests(self) -> dict[str, str]:
        """``models``, and under ``plug-in`` the digest of the stage's own code where that is of another package."""
        return self.models() if self.plugin is None else {**self.models(), "plug-in": self.plugin.digest}

    @abstractmethod
    def tasks(self, shard: Shard) -> list[Task[P]]:
        """All tasks of a shard, in an order fixed by their keys."""

    @abstractmethod
    def run(self, tasks: Sequence[Task[P]], shard: Shard) -> list[Outcome]:
        """Outcomes of one micro-batch, one a task, in the same order."""

    def shards(self, work_shards: int) -> int:
        """How many shards it writes; all but the final one follow the run's work shards."""
        return work_shards

    def paths(self, shard: int, shared: Callable[[str], bytes]) -> tuple[str, str]:
        """Where a shard's tar ("": it has none) and table go, relative to the run directory."""
        return f"{self.name}/{shard:06d}.tar", f"{self.name}/{shard:06d}.parquet"

    def index_path(self, shard: int, shared: Callable[[str], bytes]) -> str:
        """Where the index of a shard's tar goes (``pipeline.shards.index``); empty for none."""
        return ""

    def prologue(self, tables: Tables) -> Iterator[tuple[str, bytes | Path]]:
        """Files by name, made once from all upstream shards (an index, a calibration), for its shards to read.

        A large file is given by its path, where it stays until the next file is requested. A prologue that cannot be made must
        raise before it gives its first file.
        """
        return iter(())

    def outside(self) -> dict[str, str]:
        """Name -> digest of what its prologue reads outside the run directory; when a digest changes, the prologue is made again.

        Raises UsageError when it is not there.
        """
        return {}

    def shared_files(self, shard: int, names: Sequence[str]) -> list[str]:
        """Which of the prologue's files this shard depends on; all, unless the stage says otherwise."""
        return list(names)

    def epilogue(self, tables: Tables) -> Iterator[tuple[str, bytes | Path]]:
        """Files by path in the run directory, made once when all its own shards are done."""
        return iter(())


class SplitStage(Stage[P], Generic[P, Prepared, Computed]):
    """A stage whose ``run`` has three parts; parts of different micro-batches may run at the same time, each in its own thread."""

    def run(self, tasks: Sequence[Task[P]], shard: Shard) -> list[Outcome]:
        prepared = self.prepare(tasks, shard)
        return self.finish(tasks, prepared, self.compute(prepared))

    @abstractmethod
    def prepare(self, tasks: Sequence[Task[P]], shard: Shard) -> Prepared:
        """Read and decode the input of the model."""

    @abstractmethod
    def compute(self, prepared: Prepared) -> Computed:
        """Run the model."""

    @abstractmethod
    def finish(self, tasks: Sequence[Task[P]], prepared: Prepared, computed: Computed) -> list[Outcome]:
        """Encode the outcomes."""
