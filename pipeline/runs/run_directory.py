"""A run directory: paths of each shard's files, which shards are done, and the inputs of a shard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import DamagedDataError, MissingUpstreamError, ProcropError
from pipeline.core.records import PLACE_OF_SOURCE
from pipeline.core.seeds import digest_of
from pipeline.core.stage import KEPT, R, Rows, Shard, Stage, Tables, verb_of
from pipeline.runs.plan import Plan
from pipeline.runs.receipts import Receipt, StageRecipe
from pipeline.shards import parquet
from pipeline.storage.base import Store, checked, storage_errors

SOURCES = "sources"


@dataclass(frozen=True)
class _ImagePlace:
    """Where the image of a row lies in its shard's tar."""

    key: str
    image_offset: int
    image_size: int
    image_sha256: str


def receipt_path(stage: str, shard: int) -> str:
    """Path of the receipt of a shard."""
    return f"{stage}/{shard:06d}.receipt.json"


def step_receipt_path(stage: str, step: str) -> str:
    """Path of the receipt of a stage's ``prologue`` or ``epilogue``."""
    return f"{stage}/{step}.receipt.json"


class Run:
    """Reads a run directory through its receipts. Only the store and the plan are pickled.

    Args:
        store: of the run directory.
        plan: as it is stored there.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store = store
        self.plan = plan

    def receipt_at(self, path: str) -> Receipt | None:
        """The receipt at a path, or None; raises DamagedDataError."""
        try:
            data = self.store.read(path)
        except FileNotFoundError:
            return None
        return Receipt.decode(data, path)

    def receipt(self, stage: str, shard: int) -> Receipt | None:
        """The receipt of a shard, or None when it is not done."""
        return self.receipt_at(receipt_path(stage, shard))

    def receipts(self, stage: str) -> list[Receipt]:
        """All receipts of a stage, by shard."""
        names = [name for name in self.store.names(stage) if name.endswith(".receipt.json") and name[:6].isdigit()]
        receipts = [self.receipt_at(f"{stage}/{name}") for name in names]
        return [receipt for receipt in receipts if receipt is not None]

    @cached_property
    def _sources(self) -> parquet.RowsByValue:
        """Neither decoded nor, on a disk, read as a whole: a worker needs the rows of one shard at a time."""
        name, root = f"{SOURCES}.parquet", self.store.local_root
        with storage_errors(self.store.url):
            return parquet.RowsByValue(self.store.read(name) if root is None else root / name, "shard")

    def _sources_of(self, shard: int) -> pa.Table:
        """Input files that belong to a work shard, by key."""
        table = self._sources.rows(shard)
        return table.take(pc.sort_indices(table["key"]))

    def sources(self, shard: int) -> Rows:
        """Rows of the input files that belong to a work shard, by key."""
        rows: Rows = self._sources_of(shard).to_pylist()
        return rows

    def forget_sources(self) -> None:
        """Drop the cached list of input files, after it was written again."""
        self.__dict__.pop("_sources", None)

    def inputs_of(self, stage: Stage, shard: int) -> dict[str, str]:
        """Digests of a shard's inputs: what the stage reads of upstream outputs, source rows, prologue files.

        Raises MissingUpstreamError when an upstream shard is not done.
        """
        inputs = {}
        if not stage.regroups:
            for upstream in stage.upstream:
                if upstream == SOURCES:
                    inputs[SOURCES] = digest_of(_without_places(self.sources(shard)))
                else:
                    receipt = self._done(upstream, shard, stage.name)
                    inputs[upstream] = receipt.content_digest(stage.columns_read(upstream))
        if stage.prologue_needed:
            prologue = self._step(stage.name, "prologue")
            for name in stage.shared_files(shard, [path.rsplit("/", 1)[1] for path in prologue.outputs]):
                inputs[f"shared/{name}"] = prologue.file_digest(f"{stage.name}/shared/{name}")
        return inputs

    def _done(self, stage: str, shard: int, wanted_by: str) -> Receipt:
        receipt = self.receipt(stage, shard)
        if receipt is None:
            raise MissingUpstreamError(
                f"{wanted_by} needs {stage}, whose shard {shard} is not done: run 'procrop-data {verb_of(stage)}' first, "
                f"or add --with-upstream"
            )
        return receipt

    def _step(self, stage: str, step: str) -> Receipt:
        receipt = self.receipt_at(step_receipt_path(stage, step))
        if receipt is None:
            raise MissingUpstreamError(f"the {step} of {stage} is not done: run 'procrop-data {verb_of(stage)}'")
        return receipt

    def rows(self, stage: str, shard: int, columns: Sequence[str] | None = None) -> Rows:
        """All rows of a shard's table, kept or not."""
        if stage == SOURCES:
            return self.sources(shard)
        rows: Rows = self.table(stage, shard, columns).to_pylist()
        return rows

    def table(self, stage: str, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a shard, kept or not, as an Arrow table; all columns for None."""
        return self._decoded(*self._table_bytes(self._done(stage, shard, "this step")), columns)

    def _table_bytes(self, receipt: Receipt) -> tuple[str, bytes]:
        """Path and bytes of a shard's table."""
        path = self.output_of(receipt, ".parquet")
        try:
            return path, checked(self.store.read(path), str(receipt.outputs[path]["sha256"]), f"table '{path}'")
        except OSError as error:
            raise DamagedDataError(f"table '{path}' is not readable: {error}") from error

    @staticmethod
    def _decoded(path: str, data: bytes, columns: Sequence[str] | None) -> pa.Table:
        try:
            return parquet.decode_table(data, columns)
        except (OSError, ValueError) as error:
            raise DamagedDataError(f"table '{path}' is not readable: {error}") from error

    def _kept(self, stage: str, shard: int, wanted: Sequence[str] | None = None) -> pa.Table:
        """Kept rows of a shard; source rows have no status and are all kept."""
        return self._sources_of(shard) if stage == SOURCES else parquet.kept_table(self.table(stage, shard, wanted))

    @staticmethod
    def _records(stage: str, table: pa.Table, record: type[R]) -> list[R]:
        try:
            return parquet.kept_records(record, table)
        except KeyError as error:
            raise DamagedDataError(
                f"a table of {stage} lacks a column ({error}): was it made by another version?"
            ) from error

    @staticmethod
    def output_of(receipt: Receipt, suffix: str) -> str:
        """The path of a receipt's output with a suffix; raises DamagedDataError when it names none."""
        paths = [path for path in receipt.outputs if path.endswith(suffix)]
        if not paths:
            raise DamagedDataError(f"receipt of {receipt.stage} shard {receipt.shard} names no {suffix} file")
        return paths[0]

    def shard(self, stage: Stage, number: int) -> Shard:
        """What ``stage`` may read while it works on a shard."""

        @cache
        def table(name: str) -> tuple[str, bytes]:
            """Path and bytes of a table. Of its columns only those of a record are decoded: some hold much that few stages read."""
            return self._table_bytes(self._done(name, number, stage.name))

        @cache
        def rows_of(name: str, record: type[R]) -> tuple[R, ...]:
            if name == SOURCES:
                return tuple(self._records(name, self._sources_of(number), record))
            columns = ["status", *parquet.columns_of(record)]
            return tuple(self._records(name, parquet.kept_table(self._decoded(*table(name), columns)), record))

        def rows(name: str, record: type[R]) -> list[R]:
            _require_declared(stage, name, parquet.columns_of(record))
            keys = hidden()
            return [row for row in rows_of(name, record) if not keys or getattr(row, "key", "") not in keys]

        @cache
        def hidden() -> frozenset[str]:
            """Keys that a stage of ``hidden_by`` dropped."""
            columns = ["key", "status"]
            tables = [self._decoded(*table(name), columns) for name in stage.hidden_by]
            dropped = [each.filter(pc.not_equal(each["status"], KEPT))["key"].to_pylist() for each in tables]
            return frozenset(key for keys in dropped for key in keys)

        @cache
        def places(name: str) -> tuple[str, dict[str, _ImagePlace]]:
            path = self.output_of(self._done(name, number, stage.name), ".tar")
            return path, {row.key: row for row in rows_of(name, _ImagePlace)}

        def image(name: str, key: str) -> bytes:
            _require_declared(stage, name, ["image_sha256"])
            path, where = places(name)
            data = self._range(path, where[key].image_offset, where[key].image_size)
            return checked(data, where[key].image_sha256, f"'{key}' of '{path}'")

        @cache
        def prologue() -> Receipt:
            return self._step(stage.name, "prologue")

        def shared(name: str) -> bytes:
            path = f"{stage.name}/shared/{name}"
            data = self.store.read(path)
            info = prologue().outputs.get(path)
            return data if info is None else checked(data, str(info["sha256"]), f"'{path}'")

        return Shard(
            number=number,
            count=stage.shards(self.plan.work_shards),
            run_seed=self.plan.run_seed,
            rows=rows,
            image=image,
            read_range=self._range,
            shared=shared,
        )

    def _range(self, path: str, offset: int, size: int) -> bytes:
        """Bytes of a committed file. Raises DamagedDataError, which stops the run, when they are missing: no sample is at fault."""
        try:
            data = self.store.read_range(path, offset, size)
        except OSError as error:
            raise DamagedDataError(
                f"'{path}' cannot be read ({error.strerror or error}): see 'procrop-data verify'"
            ) from error
        if len(data) != size:
            raise DamagedDataError(f"'{path}' ends before byte {offset + size}: see 'procrop-data verify'")
        return data

    def tables(self, reader: Stage | None = None) -> Tables:
        """What an epilogue or a command may read; with a ``reader``, what its prologue may."""

        def columns(stage: str, shard: int, names: Sequence[str] | None) -> pa.Table:
            if reader is not None:
                _require_declared(reader, stage, names)
            return self._kept(stage, shard, None if names is None else sorted({"key", "status", *names}))

        def rows(stage: str, shard: int, record: type[R]) -> list[R]:
            return self._records(stage, columns(stage, shard, parquet.columns_of(record)), record)

        def path(stage: str, shard: int) -> str:
            return self.output_of(self._done(stage, shard, "this step"), ".tar")

        def shared(path: str) -> bytes:
            stage, name = path.rsplit("/", 1)
            return self.store.read(f"{stage}/shared/{name}")

        return Tables(self.plan.run_seed, self.receipts, rows, columns, path, self.store.read_range, shared)

    def shared_digest(self, path: str, wanted_by: str) -> str:
        """sha256 of a prologue's file, given as ``stage/file``; raises MissingUpstreamError when it is not done."""
        stage, name = path.rsplit("/", 1)
        receipt = self._step(stage, "prologue")
        return str(receipt.outputs[f"{stage}/shared/{name}"]["sha256"])


def digest_of_shards(receipts: Iterable[Receipt], columns: Iterable[str] | None) -> str:
    """What a prologue records of an upstream stage of which it reads some columns of all shards. receipts: by shard."""
    return digest_of([receipt.content_digest(columns) for receipt in receipts])


def _without_places(sources: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name not in PLACE_OF_SOURCE} for row in sources]


def _require_declared(stage: Stage, upstream: str, columns: Iterable[str] | None) -> None:
    """Raise ProcropError for a column that is read but not in ``Stage.reads``: its change would not be noticed."""
    declared = stage.columns_read(upstream)
    if declared is None:
        return
    extra = {"all columns"} if columns is None else set(columns) - declared - {"key", "status"}
    if extra:
        raise ProcropError(
            f"{stage.name} reads {min(extra)} of {upstream}, which its 'reads' does not name; this is a bug, please report it"
        )


def recipe_of(stage: Stage) -> StageRecipe:
    """The recipe of a stage as receipts record it."""
    return {"version": stage.version, "settings": stage.settings(), "models": stage.digests()}
