"""Puts the files of one attempt at a shard in place, so that a writer that wakes late never replaces those of another one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DamagedDataError, HeldError
from pipeline.core.stage import Rows, Shard, Stage
from pipeline.runs.journal import Journal
from pipeline.runs.receipts import Receipt
from pipeline.shards import parquet
from pipeline.storage.base import FileInfo, Store, describe
from pipeline.storage.locks import Lock

CHUNK = 16 << 20  # bytes of one request when an existing file is compared
ATTEMPTS = 3


class Publisher:
    """Creates files under names that must not exist. What is there without a receipt is of an attempt that died: when it has the
    same bytes it is taken, else it is removed, by the owner of the lock alone.

    Args:
        store: of the run directory.
        lock: of the shard or step.
        receipt: path of its receipt; once it exists, another attempt was committed and nothing is removed.
    """

    def __init__(self, store: Store, lock: Lock, receipt: str) -> None:
        self._store, self._lock, self._receipt = store, lock, receipt

    def put(self, path: str, data: bytes | Path, info: FileInfo, *, move: bool = False) -> None:
        """Put a file in place. Raises RefusedError when the lock was taken over, HeldError when another attempt was committed.

        Args:
            path: in the run directory.
            data: bytes, or a local file.
            info: size and sha256 of the data.
            move: whether a local file may go.
        """
        for _ in range(ATTEMPTS):
            try:
                made = (
                    self._store.create(path, data)
                    if isinstance(data, bytes)
                    else self._store.create_from(data, path, move=move)
                )
            except FileNotFoundError:
                self._lock.check()  # who takes a shard over removes the journal of the one before
                raise
            etag = "" if made else self._store.etag(path)
            if made or self._is_same(path, info):
                return
            self._remove_leftover(path, etag)
        raise HeldError(
            f"'{self._store.url}/{path}' is written by another process at the same time: run the same command again"
        )

    def _is_same(self, path: str, info: FileInfo) -> bool:
        """Whether the file that is there has our bytes: an attempt before ours, or our own whose answer was lost."""
        try:
            if self._store.size(path) != info["size"]:
                return False
            digest = hashlib.sha256()
            for start in range(0, info["size"], CHUNK):
                digest.update(self._store.read_range(path, start, min(CHUNK, info["size"] - start)))
        except FileNotFoundError:
            return False
        return digest.hexdigest() == info["sha256"]

    def _remove_leftover(self, path: str, etag: str) -> None:
        # A takeover needs the same guard, so that on a disk nobody can take the lock between the check and the removal. Where the
        # guard holds nobody (a remote store, NFS after a long sleep), the removed file may have been the new owner's: the second
        # look keeps us from putting ours in its place.
        with self._store.guard(self._lock.path):
            self._require_turn()
            self._store.remove_if(path, etag)
            self._require_turn()

    def _require_turn(self) -> None:
        """Raises RefusedError when the lock was taken over, HeldError when there is a receipt."""
        self._lock.check()
        if self._store.exists(self._receipt):
            raise HeldError(
                f"'{self._store.url}/{self._receipt}' was committed by another process: run the same command again"
            )

    def commit(self, receipt: Receipt) -> Receipt:
        """Put a receipt in force, once its files are in place; gives it, or another attempt's that says the same.

        Raises RefusedError when the lock was taken over, HeldError when another attempt with other files was committed.
        """
        if self._create(receipt):
            return receipt
        other = self._rival()
        if other is not None and (other.fingerprint, other.outputs) == (receipt.fingerprint, receipt.outputs):
            return other
        if other is None or not self._hold(
            other.outputs
        ):  # its writer slept, died, and its files were replaced by ours
            self.withdraw()
            if self._create(receipt):
                return receipt
        raise HeldError(
            f"'{self._store.url}/{self._receipt}' was committed by another process at the same time: run the same command again"
        )

    def _create(self, receipt: Receipt) -> bool:
        """Create the receipt; False when there is one. Where the guard holds nobody, we may have slept after the look at the lock,
        and the new owner may have replaced our files: then the receipt is taken back.
        """
        with self._store.guard(self._lock.path):
            self._lock.check()
            made = self._store.create(self._receipt, receipt.encode())
        if made and not self._lock.is_ours() and not self._hold(receipt.outputs):
            self._store.remove(self._receipt)
            self._lock.check()
        return made

    def _rival(self) -> Receipt | None:
        try:
            return Receipt.decode(self._store.read(self._receipt), self._receipt)
        except (FileNotFoundError, DamagedDataError):
            return None

    def _hold(self, outputs: Mapping[str, FileInfo]) -> bool:
        """Whether every file is what a receipt says."""
        return all(self._is_same(path, info) for path, info in outputs.items())

    def withdraw(self) -> None:
        """Remove the receipt before the files are made again. Raises RefusedError when the lock was taken over."""
        with self._store.guard(self._lock.path):
            self._lock.check()
            self._store.remove(self._receipt)


@dataclass(frozen=True)
class FinishedFiles:
    """The files of a shard by path, and what its receipt says of them (``Receipt.outputs``, ``Receipt.columns``)."""

    files: dict[str, bytes | Path]
    outputs: dict[str, FileInfo]
    columns: dict[str, dict[str, str]]


def finished_files(stage: Stage, shard: Shard, rows: Rows, journal: Journal | None) -> FinishedFiles:
    """The files of a shard. journal: of a stage that writes a tar."""
    tar_path, table_path = stage.paths(shard.number, shard.shared)
    files: dict[str, bytes | Path] = {}
    outputs: dict[str, FileInfo] = {}
    if journal is not None and tar_path:
        outputs[tar_path], files[tar_path] = journal.finish(), journal.tar_path
        if index_path := stage.index_path(shard.number, shard.shared):
            files[index_path] = index = journal.index().encode()
            outputs[index_path] = describe(index)
    table = parquet.table_of(rows, parquet.schema_of(stage.record, images=bool(stage.extensions)))
    data = parquet.encode_table(table)
    files[table_path], outputs[table_path] = data, describe(data)
    return FinishedFiles(files, outputs, {table_path: parquet.kept_digests(table)})
