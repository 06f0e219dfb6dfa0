"""Puts the files of one attempt at a shard in place, so that a writer that wakes late never replaces those of another one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import HeldError
from pipeline.core.stage import Rows, Shard, Stage
from pipeline.runs.journal import Journal
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
            if made or self._is_same(path, info):
                return
            self._remove_leftover(path)
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

    def _remove_leftover(self, path: str) -> None:
        # A takeover needs the same guard, so that on a disk nobody can take the lock between the check and the removal.
        with self._store.guard(self._lock.path):
            self._lock.check()
            if self._store.exists(self._receipt):
                raise HeldError(
                    f"'{self._store.url}/{self._receipt}' was committed by another process: run the same command again"
                )
            self._store.remove(path)

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
