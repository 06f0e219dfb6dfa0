"""The journal of a shard in the making: a pre-empted shard loses at most one micro-batch.

Images go into ``journal/NNNNNN.tar``; after each micro-batch that file is flushed, then one line with its length, its sha256 so
far and its rows is flushed to ``journal/NNNNNN.jsonl``. A torn last line is a micro-batch that never happened. The tar is hashed
as it is written: a journal that is taken up again reads what is there once, and starts anew when it is not what the lines say.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.core.seeds import digest_of
from pipeline.core.stage import Outcome
from pipeline.shards.hashing_file import HashedFile
from pipeline.shards.index import ShardIndex
from pipeline.shards.parquet import row_of
from pipeline.shards.tar_writer import TarWriter, places_of
from pipeline.storage.base import storage_errors


class Journal:
    """Appends outcomes durably. ``batches`` of them, with ``rows``, were there already when it was opened.

    identity: fingerprint of the shard; a journal of another one is discarded.
    """

    def __init__(self, folder: Path, shard: int, identity: str) -> None:
        with storage_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            self.tar_path = folder / f"{shard:06d}.tar"
            self._lines_path = folder / f"{shard:06d}.jsonl"
            self.rows: list[dict[str, Any]] = []
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
        """Lengths of the tar and of the journal up to the last whole micro-batch, and what the tar hashes to."""
        if not self._lines_path.exists() or not self.tar_path.exists():
            return 0, 0, ""
        tar_length, lines_length, digest = 0, 0, ""
        have = self.tar_path.stat().st_size
        for index, line in enumerate(self._lines_path.read_bytes().splitlines(keepends=True)):
            entry = _whole_entry(line)
            if entry is None or (index == 0 and entry != {"identity": identity}) or entry.get("end", 0) > have:
                break
            lines_length += len(line)
            if index > 0:
                self.rows += entry["rows"]
                self.batches += 1
                tar_length, digest = entry["end"], entry.get("sha256", "")
        return tar_length, lines_length, digest

    def append(self, outcomes: list[Outcome]) -> None:
        """Make one micro-batch durable: its files, then its line. Raises StorageError when the disk will not have it."""
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

    def _line(self, entry: dict[str, Any]) -> None:
        body = json.dumps(entry, ensure_ascii=False)
        self._lines.write(f"{digest_of(entry)[:16]} {body}\n".encode())
        self._lines.flush()
        os.fsync(self._lines.fileno())

    def finish(self) -> dict[str, Any]:
        """End the tar; it is then whole and can be adopted. Gives its size and sha256. Raises StorageError."""
        with storage_errors(str(self.tar_path)):
            self._writer.finish()
            self._tar.sync()
        return {"size": self._writer.offset, "sha256": self._tar.hexdigest()}

    def index(self) -> ShardIndex:
        """Where each member of the finished tar lies."""
        return ShardIndex.of(self._writer.places, self._writer.offset, str(self.tar_path))

    def close(self) -> None:
        """Let go of the files, keeping what they hold."""
        for file in (self._tar, self._lines):
            with contextlib.suppress(OSError):  # a full disk fails again on what is still buffered; it is redone anyway
                file.close()

    def discard(self) -> None:
        """Remove the journal of a shard that is committed."""
        self.tar_path.unlink(missing_ok=True)
        self._lines_path.unlink(missing_ok=True)


def _whole_entry(line: bytes) -> dict[str, Any] | None:
    """The entry of a journal line, or None when it is torn."""
    digest, _, body = line.partition(b" ")
    try:
        entry: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    return entry if line.endswith(b"\n") and digest.decode("ascii", "replace") == digest_of(entry)[:16] else None
