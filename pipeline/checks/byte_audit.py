"""Checks the files of one receipt: size, sha256, rows of the table, members of the tar."""

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.checks.receipt_audit import DAMAGE, REPAIR, Finding
from pipeline.core.errors import DamagedDataError
from pipeline.core.stage import Stage
from pipeline.runs.receipts import Receipt, counts
from pipeline.runs.run_directory import Run
from pipeline.shards.parquet import IMAGE_COLUMNS
from pipeline.shards.tar_writer import members
from pipeline.storage.base import FileInfo, Store, inside

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK = 1 << 20
ROWS_AT_A_TIME = 1024  # a row group may hold megabytes of vectors; only a part of it is decoded at once
Progress = Callable[[int], None]
ImagePlaces = dict[str, tuple[int, int, str]]  # by key: offset, size and sha256 of the image in the tar


def check_receipt(run: Run, stage: Stage, path: str, receipt: Receipt, progress: Progress) -> list[Finding]:
    """What is wrong with the files of a receipt.

    Args:
        run: the run directory.
        stage: whose receipt it is.
        path: of the receipt in the run directory.
        receipt: as it was read.
        progress: is called with the number of bytes read since the last call.
    """
    findings, places = [], None  # type: list[Finding], ImagePlaces | None
    for name in sorted(
        receipt.outputs, key=lambda name: name.endswith(".tar")
    ):  # the table lists what the tar must hold
        recorded = receipt.outputs[name]
        try:
            with open_file(run.store, name) as file:
                hashed = _Hashed(file, progress)
                problem = ""
                if receipt.shard >= 0 and name.endswith(".tar"):
                    problem = _tar_problem(hashed, places, stage.extensions[:1])
                problem = _byte_problem(hashed, recorded, problem)
            if not problem and receipt.shard >= 0 and name.endswith(".parquet"):
                with open_file(run.store, name) as file:
                    problem, places = _table_problem(file, receipt, images=bool(stage.extensions))
        except FileNotFoundError:
            problem = "is gone"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        if problem:
            findings.append(Finding(DAMAGE, name, problem, REPAIR, stage.name, path))
    return findings


def open_file(store: Store, path: str) -> BinaryIO:
    """A seekable file of a run directory, read in chunks of a few MB; raises FileNotFoundError."""
    if store.local_root is not None:
        return open(store.local_root / inside(path, store.url), "rb")
    return io.BufferedReader(_Ranges(store, path), 4 * CHUNK)


class _Ranges(io.RawIOBase):
    """A remote file, read by ranges."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path
        self._size, self._at = store.size(path), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        wanted = min(len(view), max(0, self._size - self._at))
        data = self._store.read_range(self._path, self._at, wanted) if wanted else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Hashed:
    """Hashes what is read through it."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress = file, progress
        self._digest, self.size = hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        self.size += len(data)
        self._progress(len(data))
        return data

    def finish(self) -> str:
        """sha256 of the whole file, after reading the rest of it."""
        while self.read(CHUNK):
            pass
        return self._digest.hexdigest()


def _byte_problem(hashed: _Hashed, recorded: FileInfo, detail: str) -> str:
    digest = hashed.finish()
    if hashed.size != recorded["size"]:
        problem = f"has {hashed.size} bytes, the receipt says {recorded['size']}"
    elif digest != recorded["sha256"]:
        problem = f"its sha256 is {digest[:12]}..., the receipt says {str(recorded['sha256'])[:12]}..."
    else:
        return detail
    return f"{problem} ({detail})" if detail else problem


def _tar_problem(hashed: _Hashed, places: ImagePlaces | None, first: tuple[str, ...]) -> str:
    """The first difference between members and rows of the table; reads to the end of the archive."""
    left = dict(places or {})
    try:
        for name, start, data in members(hashed):  # type: ignore[arg-type]  # it only reads
            key, _, extension = name.partition(".")
            if places is None or extension not in first:
                continue
            if key not in left:
                return f"member '{name}' at byte {start} has no row in the table, or is there twice"
            if left.pop(key) != (start, len(data), hashlib.sha256(data).hexdigest()):
                return f"member '{name}' at byte {start} is not what the table's row says"
    except DamagedDataError as error:
        return str(error)
    return f"'{next(iter(left))}' of the table is not in it" if left else ""


def _table_problem(file: BinaryIO, receipt: Receipt, *, images: bool) -> tuple[str, ImagePlaces | None]:
    """What is wrong with a table, and where its rows place the images; None when it cannot be read."""
    places: ImagePlaces = {}
    verdicts: list[tuple[str, str]] = []
    keys: set[str] = set()
    try:
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=CHUNK)
        for batch in table.iter_batches(ROWS_AT_A_TIME):  # every column: a page that cannot be decoded must be found
            rows = batch.select(["key", "status", "reason", *(IMAGE_COLUMNS if images else ())]).to_pylist()
            verdicts += [(row["status"], row["reason"]) for row in rows]
            keys.update(row["key"] for row in rows)
            if images:
                with_image = [row for row in rows if row["image_size"] is not None]
                places.update({row["key"]: tuple(row[name] for name in IMAGE_COLUMNS) for row in with_image})
        n_kept, rejected, failed = counts(verdicts)
    except (pa.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        return f"is not a table of this stage: {' '.join(str(error).split())[:200]}", None
    if len(keys) != len(verdicts):
        return f"has {len(verdicts)} rows but {len(keys)} different keys", places
    counted = (len(verdicts), n_kept, rejected, failed)
    recorded = (receipt.n_in, receipt.n_kept, receipt.n_rejected, receipt.n_failed)
    if counted != recorded:
        return f"holds {_tally(*counted)}, the receipt says {_tally(*recorded)}: the receipt was edited", places
    return "", places


def _tally(total: int, kept: int, rejected: dict[str, int], failed: dict[str, int]) -> str:
    dropped = ", ".join(f"{reason} {count}" for reason, count in {**rejected, **failed}.items())
    return f"{total} rows ({kept} kept{', ' + dropped if dropped else ''})"
