"""The journal of an unfinished shard: an interrupted shard loses at most one micro-batch.

Images are appended to ``journal/NNNNNN.tar``. After each micro-batch that file is flushed, then one line with its length, its
sha256 so far and the rows of the micro-batch is appended to ``journal/NNNNNN.jsonl`` and flushed. An incomplete last line is
ignored, as if its micro-batch had not been done. The tar is hashed as it is written: a journal that is resumed reads the tar once,
and starts from nothing when the sha256 differs.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import TypedDict

from pipeline.core.seeds import digest_of
from pipeline.core.stage import Outcome, Rows
from pipeline.shards.hashing_file import HashedFile
from pipeline.shards.index import ShardIndex
from pipeline.shards.parquet import row_of
from pipeline.shards.tar_writer import TarWriter, places_of
from pipeline.storage.base import FileInfo, storage_errors


class _Entry(TypedDict, total=False):
    """One line: ``identity`` in the first, the others in those of micro-batches. end: length of the tar after it."""

    identity: str
    end: int
    sha256: str
    rows: Rows


class Journal:
    """Appends outcomes durably. ``batches`` micro-batches, with ``rows``, were in it when it was opened.

    Args:
        folder: of the journals of a stage, on a local disk; it is created when missing.
        shard: number of the shard.
        identity: fingerprint of the shard; the journal of another fingerprint is discarded.
    """

    def __init__(self, folder: Path, shard: int, identity: str) -> None:
        with storage_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            self.tar_path = folder / f"{shard:06d}.tar"
            self._lines_path = folder / f"{shard:06d}.jsonl"
            self.rows: Rows = []
            self.batches = 0
            length, lines_length, digest = self._recover(identity)
            self._tar = HashedFile(self.tar_path, length)
            if length and self._tar.hexdigest() != digest:
                self._tar.close()
                self.rows, self.batches, length, lines_length = [], 0, 0, 0
                self._tar = HashedFile(self.tar_path)
            self._lines = open(self._lines_path, "ab")  # noqa: SIM115 - lives as long as the journal
            self._lines.truncate(lines_length)
            self._writer = TarWriter(self._tar, length, self._places(length))
            if lines_length == 0:
                self._line({"identity": identity})

    def _places(self, length: int) -> list[tuple[str, int, int]]:
        with open(self.tar_path, "rb") as file:
            return places_of(file, length)

    def _recover(self, identity: str) -> tuple[int, int, str]:
        """Lengths of the tar and of the journal up to the last complete micro-batch, and the sha256 of that part of the tar."""
        if not self._lines_path.exists() or not self.tar_path.exists():
            return 0, 0, ""
        tar_length, lines_length, digest = 0, 0, ""
        tar_size = self.tar_path.stat().st_size
        for index, line in enumerate(self._lines_path.read_bytes().splitlines(keepends=True)):
            entry = _complete_entry(line)
            if entry is None or (index == 0 and entry != {"identity": identity}) or entry.get("end", 0) > tar_size:
                break
            lines_length += len(line)
            if index > 0:
                self.rows += entry["rows"]
                self.batches += 1
                tar_length, digest = entry["end"], entry.get("sha256", "")
        return tar_length, lines_length, digest

    def append(self, outcomes: list[Outcome]) -> None:
        """Write one micro-batch durably: its files, then its line. Raises StorageError when the disk is full or lost."""
        with storage_errors(str(self.tar_path)):
            self._append(outcomes)

    def _append(self, outcomes: list[Outcome]) -> None:
        rows = []
        for outcome in outcomes:
            files = list((outcome.files or {}).items())
            places = [self._writer.add(f"{outcome.key}.{extension}", data) for extension, data in files]
            digest = hashlib.sha256(files[0][1]).hexdigest() if files else ""
            rows.append(row_of(outcome, (*places[0], digest) if places else None))
        self._tar.sync()
        self.rows += rows
        self._line({"end": self._writer.offset, "sha256": self._tar.hexdigest(), "rows": rows})

    def _line(self, entry: "_Entry") -> None:
        body = json.dumps(entry, ensure_ascii=False)
        self._lines.write(f"{digest_of(entry)[:16]} {body}\n".encode())
        self._lines.flush()
        os.fsync(self._lines.fileno())

    def finish(self) -> FileInfo:
        """End the tar, so that it can be adopted; gives its size and sha256. Raises StorageError."""
        with storage_errors(str(self.tar_path)):
            self._writer.finish()
            self._tar.sync()
        return {"size": self._writer.offset, "sha256": self._tar.hexdigest()}

    def index(self) -> ShardIndex:
        """The index of the finished tar."""
        return ShardIndex.of(self._writer.places, self._writer.offset, str(self.tar_path))

    def close(self) -> None:
        """Close the files and keep them."""
        for file in (self._tar, self._lines):
            with contextlib.suppress(
                OSError
            ):  # a full disk fails again on buffered bytes; that micro-batch is redone anyway
                file.close()

    def discard(self) -> None:
        """Delete the journal, after its shard was committed."""
        self.tar_path.unlink(missing_ok=True)
        self._lines_path.unlink(missing_ok=True)


def _complete_entry(line: bytes) -> _Entry | None:
    """The entry of a journal line, or None for an incomplete line."""
    digest, _, body = line.partition(b" ")
    try:
        entry: _Entry = json.loads(body)
    except ValueError:
        return None
    return entry if line.endswith(b"\n") and digest.decode("ascii", "replace") == digest_of(entry)[:16] else None
