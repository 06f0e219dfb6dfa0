"""The journal of an unfinished shard: an interrupted shard loses at most one micro-batch.

Images are appended to ``journal/NNNNNN-OWNER.tar``, where OWNER is the token of the shard's lock: no two owners append to one
file. After each micro-batch that file is flushed, then one line with its number, its length, its sha256 so far and the rows of the
micro-batch is appended to ``journal/NNNNNN-OWNER.jsonl`` and flushed. An incomplete last line is
ignored, as if its micro-batch had not been done. The tar is hashed as it is written: a journal that is resumed reads the tar once,
and starts from nothing when the sha256 differs.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
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
    """One line: ``identity`` in the first, the others in those of micro-batches. end: length of the tar after it. batch: number
    of the micro-batch, from 0. owner: token of the lock under which it was written.
    """

    identity: str
    end: int
    sha256: str
    rows: Rows
    batch: int
    owner: str


@dataclass(frozen=True)
class Ownership:
    """Whose journal it is.

    Args:
        token: of the shard's lock; part of the file names, so that no two owners append to one file.
        check: raises when the lock was lost; called before each micro-batch is written.
        confirm: the same by a look at the lock itself; called before the journals of others are removed.
    """

    token: str = ""
    check: Callable[[], None] = lambda: None
    confirm: Callable[[], None] = lambda: None


class Journal:
    """Appends outcomes durably. ``batches`` micro-batches, with ``rows``, were in it when it was opened.

    Args:
        folder: of the journals of a stage, on a local disk; it is created when missing.
        shard: number of the shard.
        identity: fingerprint of the shard; the journal of another fingerprint is discarded.
        owner: of this attempt; it goes on from the journal of an earlier one.
    """

    def __init__(self, folder: Path, shard: int, identity: str, owner: Ownership = Ownership()) -> None:
        with storage_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            self._owner = owner
            stem = f"{shard:06d}-{owner.token}" if owner.token else f"{shard:06d}"
            self.tar_path, self._lines_path = folder / f"{stem}.tar", folder / f"{stem}.jsonl"
            self.rows: Rows = []
            self.batches = 0
            _take_over(folder, shard, identity, self._lines_path, owner.confirm)
            recovered = _recover(self._lines_path, identity)
            length, lines_length = recovered.tar_length, recovered.lines_length
            self._tar = HashedFile(self.tar_path, length)
            if length and self._tar.hexdigest() != recovered.digest:
                self._tar.close()
                length, lines_length = 0, 0
                self._tar = HashedFile(self.tar_path)
            else:
                self.rows, self.batches = recovered.rows, recovered.batches
            self._lines = open(self._lines_path, "ab")  # noqa: SIM115 - lives as long as the journal
            self._lines.truncate(lines_length)
            self._writer = TarWriter(self._tar, length, self._places(length))
            if lines_length == 0:
                self._line({"identity": identity})

    def _places(self, length: int) -> list[tuple[str, int, int]]:
        with open(self.tar_path, "rb") as file:
            return places_of(file, length)

    def append(self, outcomes: list[Outcome]) -> None:
        """Write one micro-batch durably: its files, then its line. Raises StorageError when the disk is full or lost."""
        self._owner.check()
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
        entry: _Entry = {"end": self._writer.offset, "sha256": self._tar.hexdigest(), "rows": rows}
        self._line({**entry, "batch": self.batches, "owner": self._owner.token})
        self.batches += 1

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


@dataclass
class _Recovered:
    """What of a journal holds: up to the last complete micro-batch that continues the one before it."""

    rows: Rows = field(default_factory=list)
    batches: int = 0
    tar_length: int = 0
    lines_length: int = 0
    digest: str = ""
    owners: list[str] = field(default_factory=list)  # in the order that they wrote in, the present one last

    def continues(self, entry: _Entry) -> bool:
        """Whether a record is the next one, and not of an owner that another one has followed."""
        owner = entry.get("owner", "")
        return (
            entry.get("batch", self.batches) == self.batches
            and entry["end"] >= self.tar_length
            and owner not in self.owners[:-1]
        )

    def add(self, entry: _Entry) -> None:
        """Take the next record."""
        self.rows += entry["rows"]
        self.batches += 1
        self.tar_length, self.digest = entry["end"], entry.get("sha256", "")
        if (owner := entry.get("owner", "")) not in self.owners:
            self.owners.append(owner)


def _recover(lines: Path, identity: str) -> _Recovered:
    found, tar = _Recovered(), lines.with_suffix(".tar")
    if not lines.exists() or not tar.exists():
        return found
    tar_size = tar.stat().st_size
    for index, line in enumerate(lines.read_bytes().splitlines(keepends=True)):
        entry = _complete_entry(line)
        if entry is None or (index == 0 and entry != {"identity": identity}):
            break
        if index > 0:
            if not found.continues(entry) or entry["end"] > tar_size:
                break
            found.add(entry)
        found.lines_length += len(line)
    return found


def _take_over(folder: Path, shard: int, identity: str, lines: Path, confirm: Callable[[], None]) -> None:
    """Copy the furthest journal of the shard for this owner, and remove the others.

    They are copied because their owners may wake: what those then append, they append to files that nobody reads. Those that
    are removed were listed before the lock was confirmed: the journal of an owner after this one is not among them.
    """
    pattern = re.compile(rf"{shard:06d}(-[0-9a-z]+)?\.jsonl")
    others = [path for path in sorted(folder.iterdir()) if pattern.fullmatch(path.name) and path != lines]
    best = max(others, key=lambda path: _recover(path, identity).batches, default=None)
    if best is not None and not lines.exists() and _recover(best, identity).batches:
        shutil.copyfile(best.with_suffix(".tar"), lines.with_suffix(".tar"))
        shutil.copyfile(best, lines)
    if others:
        confirm()
    for path in others:
        path.with_suffix(".tar").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _complete_entry(line: bytes) -> _Entry | None:
    """The entry of a journal line, or None for an incomplete line."""
    digest, _, body = line.partition(b" ")
    try:
        entry: _Entry = json.loads(body)
    except ValueError:
        return None
    return entry if line.endswith(b"\n") and digest.decode("ascii", "replace") == digest_of(entry)[:16] else None
