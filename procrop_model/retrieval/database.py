"""The reference database: vectors of professional photographs for search, and their tokens for the fusion.

A folder of four files: ``index.faiss`` (inner product over L2-normalised vectors, memory-mapped), ``index.json`` (its kind,
metric, parameters, measured recall, and the encoder), ``tokens.npy`` (fp16 [N, T, C], memory-mapped) and
``references.parquet`` (title, author and licence of each row); an approximate index also has ``vectors.npy``.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError
from procrop_model.retrieval.entries import Entries, Reference, duplicates
from procrop_model.retrieval.index import build_index, exact_search, kind_for, read_index, vectors_of
from procrop_model.retrieval.writer import (
    BLOCK,
    FILES,
    METRIC,
    VECTORS,
    IndexFile,
    IndexMetadata,
    NearDuplicates,
    Reals,
    ReferenceWriter,
    l2_normalise,
)

__all__ = ["IndexMetadata", "NearDuplicates", "Neighbour", "Reference", "ReferenceDatabase", "SearchResult"]

SPARE = 22  # rows fetched beyond k, so that a few near-duplicates among them need no second search
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """A retrieved reference and its cosine similarity in -1..1."""

    key: str
    similarity: float


@dataclass(frozen=True)
class SearchResult:
    """At most k references of one query, most similar first: keys, cosines in -1..1 and database rows."""

    keys: list[str]
    similarities: list[float]
    rows: list[int]

    def neighbours(self) -> list[Neighbour]:
        """The same as a list of pairs."""
        return [Neighbour(*pair) for pair in zip(self.keys, self.similarities, strict=True)]


class ReferenceDatabase:
    """Search over reference photographs that excludes a query's own photo and near-duplicates of it."""

    def __init__(
        self,
        index: faiss.Index,
        tokens: NDArray[np.float16],
        entries: Entries,
        *,
        encoder: str,
        vectors: Floats | None = None,
        metadata: IndexMetadata | None = None,
    ) -> None:
        """From built parts; see ``build`` and ``load``.

        Args:
            index: faiss index by inner product over the N vectors.
            tokens: fp16 [N, T, C].
            entries: the N references.
            encoder: digest of the encoder of vectors and tokens.
            vectors: [N, D], L2-normalised, for an approximate index; a flat one (IndexFlatIP) holds them itself.
            metadata: further content of ``index.json``.
        """
        self.index = index
        self.tokens = tokens
        self.entries = entries
        self.encoder = encoder
        self.metadata = metadata or IndexMetadata()
        self.limits = self.metadata.limits
        self.vectors: Floats = vectors_of(index) if vectors is None else vectors
        self._exact = vectors is None

    def __len__(self) -> int:
        return len(self.entries)

    @staticmethod
    def build(
        vectors: Reals,
        tokens: Reals,
        entries: Sequence[Reference],
        encoder_digest: str,
        limits: NearDuplicates | None = None,
        *,
        index: str = "flat",
    ) -> "ReferenceDatabase":
        """A database in memory; N may be 0. Raises ModelError when the counts differ or a key occurs twice.

        Args:
            vectors: [N, D], normalised here.
            tokens: [N, T, C], stored as fp16.
            entries: the N references.
            encoder_digest: of the encoder of vectors and tokens.
            limits: when a reference is a near-duplicate of a query.
            index: auto, flat, ivf or hnsw.
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
            normalised[block] = l2_normalise(np.asarray(vectors[block], np.float32))
        kind = kind_for(index, len(vectors))
        built, info = build_index(normalised, kind)
        metadata = IndexMetadata(limits or NearDuplicates(), kind, info.recall)
        kept = None if kind == "flat" else normalised
        grids = np.asarray(tokens, np.float16)
        return ReferenceDatabase(built, grids, listed, encoder=encoder_digest, vectors=kept, metadata=metadata)

    def search(
        self,
        vectors: Reals,
        k: int,
        *,
        exclude: Sequence[Collection[str]] | None = None,
        parents: Reals | None = None,
        parent_phashes: Sequence[str] | None = None,
    ) -> list[SearchResult]:
        """The k most similar references of each query; fewer when the database has no more.

        A query's result does not depend on the rest of the batch. An approximate index is searched once; a query that has fewer
        than k references left after exclusion is then searched exactly, so it never gets fewer than with a flat index.

        Args:
            vectors: queries [B, D], normalised here.
            k: references per query.
            exclude: for each query, keys of references or photos to leave out together with their near-duplicates.
            parents: [B, D] vectors of the photos that the queries were made from; for a new image, its own vector.
            parent_phashes: perceptual hashes of these photos, "" when unknown.
        """
        queries = l2_normalise(np.asarray(vectors, np.float32))
        results = [SearchResult([], [], [])] * len(queries)
        todo, reach, first = list(range(len(queries))), min(len(self), k + SPARE), True
        while todo and k > 0 and reach:
            nearest, exact = self._nearest(queries[todo], reach, first), self._exact or not first
            short = []
            for query, candidates in zip(todo, nearest, strict=True):
                rows = candidates[candidates >= 0]  # faiss pads with -1
                free = rows[
                    ~self._banned(
                        rows,
                        exclude[query] if exclude is not None else (),
                        None if parents is None else np.asarray(parents[query], np.float32),
                        "" if parent_phashes is None else parent_phashes[query],
                    )
                ]
                if len(free) < k and (reach < len(self) or not exact):
                    short.append(query)  # too many of the nearest are near-duplicates: fetch more
                else:
                    results[query] = self._best(queries[query], free, k)
            todo, reach, first = short, min(len(self), 4 * reach), False
        return results

    def _nearest(self, queries: Floats, reach: int, first: bool) -> NDArray[np.int64]:
        """Rows [B, reach] from the index; after the first search with an approximate one, from all vectors."""
        if self._exact or first:
            rows: NDArray[np.int64] = self.index.search(np.ascontiguousarray(queries), reach)[1]
            return rows
        return exact_search(self.vectors, queries, reach)[1]

    def tokens_of(self, rows: Sequence[int]) -> NDArray[np.float16]:
        """Tokens [len(rows), T, C] of database rows."""
        return np.asarray(self.tokens[list(rows)], np.float16)

    def row(self, key: str) -> int:
        """Row of a reference; raises KeyError."""
        rows = self.entries.rows_of_key(key)
        if not rows:
            raise KeyError(key)
        return rows[0]

    def _best(self, query: Floats, rows: NDArray[np.int64], k: int) -> SearchResult:
        """The k most similar of ``rows``; similarities are computed per query, so that they do not depend on the batch."""
        similarities = (self.vectors[rows] * query).sum(axis=1)
        order = np.lexsort((rows, -similarities))[:k]
        chosen = rows[order].tolist()
        return SearchResult(self.entries.keys_of(chosen), similarities[order].tolist(), chosen)

    def _banned(
        self, rows: NDArray[np.int64], keys: Collection[str], parent: Floats | None, phash: str
    ) -> NDArray[np.bool_]:
        """Which of ``rows`` [M] to exclude for a query: bool [M]."""
        own = {r for key in keys for r in (*self.entries.rows_of_photo(key), *self.entries.rows_of_key(key))}
        banned = np.isin(rows, list(own))
        for row in sorted(own):
            banned |= self._near_duplicates(rows, self.vectors[row], self.entries[row].phash)
        if parent is not None or phash:
            banned |= self._near_duplicates(rows, parent, phash)
        return banned

    def _near_duplicates(self, rows: NDArray[np.int64], vector: Floats | None, phash: str) -> NDArray[np.bool_]:
        """Which of ``rows`` [M] are near-duplicates of a photo with this vector [D] or hash: bool [M]."""
        alike = np.zeros(len(rows), bool)
        if vector is not None:
            alike |= (self.vectors[rows] * l2_normalise(vector[None])).sum(axis=1) >= self.limits.cosine
        if phash:
            distance = np.bitwise_count(self.entries.hashes[rows] ^ np.uint64(int(phash, 16)))
            alike |= self.entries.hashed[rows] & (distance <= self.limits.phash_bits)
        return alike

    def save(self, folder: Path | str) -> None:
        """Writes the four files, ``index.json`` last, so that an unfinished folder does not load."""
        metadata = self.metadata
        writer = ReferenceWriter(
            folder, self.encoder, self.limits, index=metadata.index, encoder_settings=metadata.encoder_settings
        )
        writer.add_normalised(self.vectors, self.tokens, self.entries)
        writer.close()

    @staticmethod
    def load(folder: Path | str, encoder_digest: str | None = None, *, with_tokens: bool = True) -> "ReferenceDatabase":
        """The database of a folder. Raises ModelError when it is missing, damaged or made with another encoder.

        Args:
            folder: as ``save`` or ``ReferenceWriter`` wrote it.
            encoder_digest: the encoder that the references must have been made with; None for any.
            with_tokens: whether to load the tokens; without them ``tokens.npy`` may be missing.
        """
        home = Path(folder)
        try:
            about: IndexFile = json.loads((home / "index.json").read_text("utf-8"))
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
            return ReferenceDatabase(
                index,
                tokens,
                entries,
                encoder=about["encoder"],
                vectors=vectors,
                metadata=IndexMetadata.from_file(about),
            )
        except FileNotFoundError as error:
            raise ModelError(f"no reference database in {home}: {Path(error.filename).name} is missing") from error
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, EOFError) as error:
            raise ModelError(f"the reference database in {home} is damaged, make it anew: {error}") from error


def _check(home: Path, about: IndexFile, encoder_digest: str | None, files: Sequence[str]) -> None:
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
