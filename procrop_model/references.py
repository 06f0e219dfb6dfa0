"""The retrieval database: vectors of professional photographs to search, and their tokens to fuse.

A folder of four files: ``index.faiss`` (flat inner product over L2-normalised vectors), ``index.json`` (its metric and
parameters), ``tokens.npy`` (fp16 [N, T, C], read memory-mapped) and ``references.parquet`` (what each row is, with its
licence).
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from procrop_model.reference_entries import Entries, Reference, duplicates
from procrop_model.reference_writer import FILES, METRIC, NearDuplicates, ReferenceWriter, unit

__all__ = ["Found", "NearDuplicates", "Neighbour", "Reference", "ReferenceDatabase"]

BLOCK = 8192
SPARE = 22  # nearest that are looked at beyond k, so that a few near-duplicates among them cost no second search
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """A retrieved reference and its cosine."""

    key: str
    similarity: float


@dataclass(frozen=True)
class Found:
    """References of one query, most similar first; three lists of equal length, at most k long."""

    keys: list[str]
    similarities: list[float]
    rows: list[int]

    def neighbours(self) -> list[Neighbour]:
        """The same as pairs."""
        return [Neighbour(*pair) for pair in zip(self.keys, self.similarities, strict=True)]


class ReferenceDatabase:
    """Search over reference photographs that never gives a query its own photo or a near-duplicate of it."""

    def __init__(
        self,
        index: Any,
        tokens: NDArray[np.float16],
        entries: Entries,
        *,
        encoder: str,
        limits: NearDuplicates | None = None,
    ) -> None:
        """index: faiss.IndexFlatIP over N L2-normalised vectors; tokens fp16 [N, T, C]; encoder: digest of what made both."""
        self.index = index
        self.tokens = tokens
        self.entries = entries
        self.encoder = encoder
        self.limits = limits or NearDuplicates()
        shape = (int(index.ntotal), int(index.d))
        # The index's own memory, not a copy of it.
        self.vectors: Floats = (
            faiss.rev_swig_ptr(index.get_xb(), shape[0] * shape[1]).reshape(shape)
            if shape[0]
            else np.zeros(shape, np.float32)
        )

    def __len__(self) -> int:
        return len(self.entries)

    @staticmethod
    def build(
        vectors: NDArray[Any],
        tokens: NDArray[Any],
        entries: Sequence[Reference],
        encoder_digest: str,
        limits: NearDuplicates | None = None,
    ) -> "ReferenceDatabase":
        """A database from vectors [N, D] (normalised here), tokens [N, T, C] and one entry a row; N may be 0.

        Raises ModelError when the counts differ or a key comes twice.
        """
        if not len(vectors) == len(tokens) == len(entries):
            raise ModelError(
                f"{len(vectors)} vectors, {len(tokens)} token grids and {len(entries)} entries do not match"
            )
        listed = entries if isinstance(entries, Entries) else Entries.of(entries)
        if duplicates(listed.table["key"]):
            raise ModelError("the reference database was given a key twice")
        index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), BLOCK):
            index.add(np.ascontiguousarray(unit(np.asarray(vectors[start : start + BLOCK], np.float32))))
        return ReferenceDatabase(index, np.asarray(tokens, np.float16), listed, encoder=encoder_digest, limits=limits)

    def search(
        self,
        vectors: NDArray[Any],
        k: int,
        *,
        exclude: Sequence[Collection[str]] | None = None,
        parents: NDArray[Any] | None = None,
        parent_phashes: Sequence[str] | None = None,
    ) -> list[Found]:
        """The k most similar references of each query vector [B, D]; fewer when the database has no more.

        exclude: a query's forbidden keys (of references or of photos), whose near-duplicates are left out too.
        parents [B, D]: vectors of the photos that the queries were made from; for a new image, the image's own.
        parent_phashes: their perceptual hashes, "" when unknown.
        A query's result never depends on what else is in the batch.
        """
        queries = unit(np.asarray(vectors, np.float32))
        found = [Found([], [], [])] * len(queries)
        todo, reach = list(range(len(queries))), min(len(self), k + SPARE)
        while todo and k > 0 and reach:
            _, nearest = self.index.search(np.ascontiguousarray(queries[todo]), reach)
            short = []
            for query, rows in zip(todo, nearest, strict=True):
                free = rows[
                    ~self._banned(
                        rows,
                        exclude[query] if exclude is not None else (),
                        None if parents is None else np.asarray(parents[query], np.float32),
                        "" if parent_phashes is None else parent_phashes[query],
                    )
                ]
                if len(free) < k and reach < len(self):
                    short.append(query)  # too many of the nearest are near-duplicates: look further
                else:
                    found[query] = self._best(queries[query], free, k)
            todo, reach = short, min(len(self), 4 * reach)
        return found

    def tokens_of(self, rows: Sequence[int]) -> NDArray[np.float16]:
        """Tokens [len(rows), T, C] of database rows."""
        return np.asarray(self.tokens[list(rows)], np.float16)

    def row(self, key: str) -> int:
        """Row of a reference; raises KeyError."""
        found = self.entries.rows_of_key(key)
        if not found:
            raise KeyError(key)
        return found[0]

    def _best(self, query: Floats, rows: NDArray[np.int64], k: int) -> Found:
        """The k most similar of some rows; similarities are computed for this query alone, whatever its batch was."""
        similarities = (self.vectors[rows] * query).sum(axis=1)
        order = np.lexsort((rows, -similarities))[:k]
        chosen = rows[order].tolist()
        return Found([self.entries[row].key for row in chosen], similarities[order].tolist(), chosen)

    def _banned(
        self, rows: NDArray[np.int64], keys: Collection[str], parent: Floats | None, phash: str
    ) -> NDArray[np.bool_]:
        """Which of some rows a query must not be given."""
        own = {r for key in keys for r in (*self.entries.rows_of_photo(key), *self.entries.rows_of_key(key))}
        banned = np.isin(rows, list(own))
        for row in sorted(own):
            banned |= self._like(rows, self.vectors[row], self.entries[row].phash)
        if parent is not None or phash:
            banned |= self._like(rows, parent, phash)
        return banned

    def _like(self, rows: NDArray[np.int64], vector: Floats | None, phash: str) -> NDArray[np.bool_]:
        alike = np.zeros(len(rows), bool)
        if vector is not None:
            alike |= (self.vectors[rows] * unit(vector[None])).sum(axis=1) >= self.limits.cosine
        if phash:
            distance = np.bitwise_count(self.entries.hashes[rows] ^ np.uint64(int(phash, 16)))
            alike |= self.entries.hashed[rows] & (distance <= self.limits.phash_bits)
        return alike

    def save(self, folder: Path | str) -> None:
        """Writes the four files, ``index.json`` last, so that an unfinished folder does not load."""
        writer = ReferenceWriter(folder, self.encoder, self.limits)
        writer.add_unit(self.vectors, self.tokens, self.entries)
        writer.close()

    @staticmethod
    def load(folder: Path | str, encoder_digest: str | None = None, *, with_tokens: bool = True) -> "ReferenceDatabase":
        """The database of a folder. Raises ModelError when it is missing, damaged or made with another encoder.

        with_tokens: without them it can be searched, not fused, and needs no ``tokens.npy``.
        """
        home = Path(folder)
        try:
            about = json.loads((home / "index.json").read_text("utf-8"))
            _check(home, about, encoder_digest, [name for name in FILES if with_tokens or name != "tokens.npy"])
            index = faiss.read_index(str(home / "index.faiss"))
            tokens = (
                np.load(home / "tokens.npy", mmap_mode="r", allow_pickle=False)
                if with_tokens
                else np.zeros((index.ntotal, 0, 0), np.float16)
            )
            entries = Entries.decode((home / "references.parquet").read_bytes())
            if not about["count"] == index.ntotal == len(tokens) == len(entries):
                raise ValueError(
                    f"{about['count']} references announced, {index.ntotal} vectors, {len(entries)} entries"
                )
            limits = NearDuplicates(**about["limits"])
            return ReferenceDatabase(index, tokens, entries, encoder=about["encoder"], limits=limits)
        except FileNotFoundError as error:
            raise ModelError(f"no reference database in {home}: {Path(error.filename).name} is missing") from error
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, EOFError) as error:
            raise ModelError(f"the reference database in {home} is damaged, make it anew: {error}") from error


def _check(home: Path, about: dict[str, Any], encoder_digest: str | None, files: Sequence[str]) -> None:
    if about["metric"] != METRIC:
        raise ValueError(f"metric '{about['metric']}' instead of '{METRIC}'")
    for name in files:
        if (actual := (home / name).stat().st_size) != (size := about["bytes"][name]):
            raise ValueError(f"{name} has {actual} bytes instead of {size}")
    if encoder_digest is not None and about["encoder"] != encoder_digest:
        raise ModelError(
            f"the reference database in {home} was made with encoder {about['encoder']}, not {encoder_digest}"
        )
