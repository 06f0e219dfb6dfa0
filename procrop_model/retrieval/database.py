"""The retrieval database: vectors of professional photographs to search, and their tokens to fuse.

A folder of four files: ``index.faiss`` (inner product over L2-normalised vectors, memory-mapped), ``index.json`` (its kind,
metric, parameters and measured recall, and the encoder), ``tokens.npy`` (fp16 [N, T, C], memory-mapped) and
``references.parquet`` (what each row is, with its licence); beside an approximate index also ``vectors.npy``.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError
from procrop_model.retrieval.entries import Entries, Reference, duplicates
from procrop_model.retrieval.index import build_index, exact_search, kind_for, read_index, vectors_of
from procrop_model.retrieval.writer import FILES, METRIC, VECTORS, NearDuplicates, ReferenceWriter, unit

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


@dataclass(frozen=True)
class Told:
    """What ``index.json`` tells beyond the vectors. limits: of near-duplicates. index: its kind (flat, ivf, hnsw). recall: of
    the index against a flat one. encoder_settings: what builds the encoder again, or empty.
    """

    limits: NearDuplicates = field(default_factory=NearDuplicates)
    index: str = "auto"
    recall: float = 1.0
    encoder_settings: Mapping[str, Any] = field(default_factory=dict)


class ReferenceDatabase:
    """Search over reference photographs that never gives a query its own photo or a near-duplicate of it."""

    def __init__(
        self,
        index: Any,
        tokens: NDArray[np.float16],
        entries: Entries,
        *,
        encoder: str,
        vectors: Floats | None = None,
        told: Told | None = None,
    ) -> None:
        """index: of faiss, by inner product; tokens fp16 [N, T, C]; encoder: digest of what made both. vectors [N, D],
        L2-normalised: of an approximate index; a flat one (IndexFlatIP) holds them.
        """
        self.index = index
        self.tokens = tokens
        self.entries = entries
        self.encoder = encoder
        self.told = told or Told()
        self.limits = self.told.limits
        self.vectors: Floats = vectors_of(index) if vectors is None else vectors
        self._exact = vectors is None

    def __len__(self) -> int:
        return len(self.entries)

    @staticmethod
    def build(
        vectors: NDArray[Any],
        tokens: NDArray[Any],
        entries: Sequence[Reference],
        encoder_digest: str,
        limits: NearDuplicates | None = None,
        *,
        index: str = "flat",
    ) -> "ReferenceDatabase":
        """A database from vectors [N, D] (normalised here), tokens [N, T, C] and one entry a row; N may be 0. index: auto,
        flat, ivf or hnsw.

        Raises ModelError when the counts differ or a key comes twice.
        """
        if not len(vectors) == len(tokens) == len(entries):
            raise ModelError(
                f"{len(vectors)} vectors, {len(tokens)} token grids and {len(entries)} entries do not match"
            )
        listed = entries if isinstance(entries, Entries) else Entries.of(entries)
        if duplicates(listed.table["key"]):
            raise ModelError("the reference database was given a key twice")
        normalised = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), BLOCK):
            block = slice(start, start + BLOCK)
            normalised[block] = unit(np.asarray(vectors[block], np.float32))
        kind = kind_for(index, len(vectors))
        built, info = build_index(normalised, kind)
        told = Told(limits or NearDuplicates(), kind, info.recall)
        kept = None if kind == "flat" else normalised
        grids = np.asarray(tokens, np.float16)
        return ReferenceDatabase(built, grids, listed, encoder=encoder_digest, vectors=kept, told=told)

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
        A query's result never depends on what else is in the batch. An approximate index is asked once; a query that has
        too few left after exclusion is then searched exactly, so it never gets fewer than a flat index would give.
        """
        queries = unit(np.asarray(vectors, np.float32))
        found = [Found([], [], [])] * len(queries)
        todo, reach, first = list(range(len(queries))), min(len(self), k + SPARE), True
        while todo and k > 0 and reach:
            nearest, exact = self._nearest(queries[todo], reach, first), self._exact or not first
            short = []
            for query, found_rows in zip(todo, nearest, strict=True):
                rows = found_rows[found_rows >= 0]  # faiss fills up with -1
                free = rows[
                    ~self._banned(
                        rows,
                        exclude[query] if exclude is not None else (),
                        None if parents is None else np.asarray(parents[query], np.float32),
                        "" if parent_phashes is None else parent_phashes[query],
                    )
                ]
                if len(free) < k and (reach < len(self) or not exact):
                    short.append(query)  # too many of the nearest are near-duplicates: look further
                else:
                    found[query] = self._best(queries[query], free, k)
            todo, reach, first = short, min(len(self), 4 * reach), False
        return found

    def _nearest(self, queries: Floats, reach: int, first: bool) -> NDArray[np.int64]:
        """Rows [B, reach] by the index or, after a first try with an approximate one, by all vectors."""
        if self._exact or first:
            rows: NDArray[np.int64] = self.index.search(np.ascontiguousarray(queries), reach)[1]
            return rows
        return exact_search(self.vectors, queries, reach)[1]

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
        return Found(self.entries.keys_of(chosen), similarities[order].tolist(), chosen)

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
        told = self.told
        writer = ReferenceWriter(
            folder, self.encoder, self.limits, index=told.index, encoder_settings=told.encoder_settings
        )
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
            _check(
                home, about, encoder_digest, [name for name in about["bytes"] if with_tokens or name != "tokens.npy"]
            )
            index = read_index(str(home / "index.faiss"))
            vectors = np.load(home / VECTORS, mmap_mode="r", allow_pickle=False) if VECTORS in about["bytes"] else None
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
            told = _told(about)
            return ReferenceDatabase(index, tokens, entries, encoder=about["encoder"], vectors=vectors, told=told)
        except FileNotFoundError as error:
            raise ModelError(f"no reference database in {home}: {Path(error.filename).name} is missing") from error
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, EOFError) as error:
            raise ModelError(f"the reference database in {home} is damaged, make it anew: {error}") from error


def _told(about: Mapping[str, Any]) -> Told:
    """Of an ``index.json``; those of earlier versions know flat indexes only and say nothing of the encoder's settings."""
    kind = {"IndexFlatIP": "flat", "IndexIVFFlat": "ivf", "IndexHNSWFlat": "hnsw"}[about["kind"]]
    recall = about.get("recall", {"value": 1.0})["value"]
    return Told(NearDuplicates(**about["limits"]), kind, recall, about.get("encoder_settings", {}))


def _check(home: Path, about: dict[str, Any], encoder_digest: str | None, files: Sequence[str]) -> None:
    if about["metric"] != METRIC:
        raise ValueError(f"metric '{about['metric']}' instead of '{METRIC}'")
    if missing := sorted({*FILES} - set(about["bytes"])):
        raise ValueError(f"index.json does not list {missing[0]}")
    for name in files:
        if (actual := (home / name).stat().st_size) != (size := about["bytes"][name]):
            raise ValueError(f"{name} has {actual} bytes instead of {size}")
    if encoder_digest is not None and about["encoder"] != encoder_digest:
        raise ModelError(
            f"the reference database in {home} was made with encoder {about['encoder']}, not {encoder_digest}"
        )
