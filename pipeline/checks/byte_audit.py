"""Every byte that one receipt vouches for: size, sha256, rows of the table, members of the tar."""

import hashlib
import io
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.checks.receipt_audit import DAMAGE, REPAIR, Finding
from pipeline.core.errors import DamagedDataError
from pipeline.core.stage import Stage
from pipeline.runs.receipts import Receipt, counts
from pipeline.runs.run_directory import Run
from pipeline.shards.parquet import IMAGE_COLUMNS
from pipeline.shards.tar_writer import members
from pipeline.storage.base import Store

CHUNK = 1 << 20
ROWS_AT_A_TIME = 1024
Progress = Callable[[int], None]
Places = dict[str, tuple[int, int, str]]


def check_receipt(run: Run, stage: Stage, path: str, receipt: Receipt, progress: Progress) -> list[Finding]:
    """What is wrong with the files of a receipt. progress(n): so many more bytes were read."""
    findings, places = [], None  # type: list[Finding], Places | None
    for name in sorted(
        receipt.outputs, key=lambda name: name.endswith(".tar")
    ):  # the table says what the tar must hold
        promise = receipt.outputs[name]
        try:
            with open_file(run.store, name) as file:
                hashed = _Hashed(file, progress)
                problem = ""
                if receipt.shard >= 0 and name.endswith(".tar"):
                    problem = _tar_problem(hashed, places, stage.extensions[:1])
                problem = _byte_problem(hashed, promise, problem)
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
    """A seekable file of a run directory that never holds more than a few MB; raises FileNotFoundError."""
    if store.local_root is not None:
        return open(store.local_root / path, "rb")
    return io.BufferedReader(_Ranges(store, path), 4 * CHUNK)


class _Ranges(io.RawIOBase):
    """Reads a remote file by ranges."""

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

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        data = self._store.read_range(self._path, self._at, wanted) if wanted else b""
        buffer[: len(data)] = data
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
        """Digest of the whole file: what was read so far and the rest."""
        while self.read(CHUNK):
            pass
        return self._digest.hexdigest()


def _byte_problem(hashed: _Hashed, promise: dict[str, Any], detail: str) -> str:
    digest = hashed.finish()
    if hashed.size != promise["size"]:
        problem = f"has {hashed.size} bytes, the receipt says {promise['size']}"
    elif digest != promise["sha256"]:
        problem = f"its sha256 is {digest[:12]}..., the receipt says {str(promise['sha256'])[:12]}..."
    else:
        return detail
    return f"{problem} ({detail})" if detail else problem


def _tar_problem(hashed: _Hashed, places: Places | None, first: tuple[str, ...]) -> str:
    """How the members differ from the table's rows; reads on to the end of the archive."""
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


def _table_problem(file: BinaryIO, receipt: Receipt, *, images: bool) -> tuple[str, Places | None]:
    """What is wrong with a table, and where its rows say that images are."""
    places: Places = {}
    verdicts: list[dict[str, Any]] = []
    keys: set[str] = set()
    try:
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=CHUNK)
        for batch in table.iter_batches(ROWS_AT_A_TIME):  # every column: a page that cannot be decoded must be found
            rows = batch.select(["key", "status", "reason", *(IMAGE_COLUMNS if images else ())]).to_pylist()
            verdicts += [{"status": row["status"], "reason": row["reason"]} for row in rows]
            keys.update(row["key"] for row in rows)
            if images:
                found = {r["key"]: tuple(r[name] for name in IMAGE_COLUMNS) for r in rows}
                places.update({key: place for key, place in found.items() if place[1] is not None})
        n_kept, rejected, failed = counts(verdicts)
    except (pa.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        return f"is not a table of this stage: {' '.join(str(error).split())[:200]}", None
    if len(keys) != len(verdicts):
        return f"has {len(verdicts)} rows but {len(keys)} different keys", places
    there = (len(verdicts), n_kept, rejected, failed)
    said = (receipt.n_in, receipt.n_kept, receipt.n_rejected, receipt.n_failed)
    if there != said:
        return f"holds {_tally(*there)}, the receipt says {_tally(*said)}: the receipt was edited", places
    return "", places


def _tally(total: int, kept: int, rejected: dict[str, int], failed: dict[str, int]) -> str:
    dropped = ", ".join(f"{reason} {count}" for reason, count in {**rejected, **failed}.items())
    return f"{total} rows ({kept} kept{', ' + dropped if dropped else ''})"
