"""Writes a reference database incrementally: tokens go straight to disk, memory holds the vectors only."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError
from pipeline.core.json_types import JsonObject
from procrop_model.retrieval.entries import Entries, EntriesWriter, Reference, as_table
from procrop_model.retrieval.index import IndexEntry, IndexInfo, build_index, kind_for, vectors_of

METRIC = "inner_product_l2_normalised"
FILES = ("index.faiss", "tokens.npy", "references.parquet")
VECTORS = "vectors.npy"  # written for approximate indexes only; a flat one holds the vectors itself
BLOCK = 8192  # rows converted at a time, to bound memory
Floats = NDArray[np.float32]
Reals = NDArray[np.float16] | NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class NearDuplicates:
    """When two photographs count as the same. Either limit suffices.

    The published code excludes neither the query nor its parent photograph, which leaks the label (METHOD 3); both limits are
    ours.

    Args:
        cosine: least cosine similarity of their vectors.
        phash_bits: greatest Hamming distance of their perceptual hashes, of 64 bits.
    """

    cosine: float = 0.985
    phash_bits: int = 6


class LimitsEntry(TypedDict):
    """``NearDuplicates`` in ``index.json``."""

    cosine: float
    phash_bits: int


class IndexFile(IndexEntry):
    """The content of ``index.json``: of N references with vectors [D] and tokens [T, C].

    dim: D. count: N. tokens: [T, C]. grid: rows and columns of the token grid. encoder: digest of the encoder; encoder_settings:
    from which it can be built again. bytes: size of each file. faiss: version of the library.
    """

    metric: str
    dim: int
    count: int
    tokens: list[int]
    grid: list[int]
    encoder: str
    encoder_settings: JsonObject
    limits: LimitsEntry
    bytes: dict[str, int]
    faiss: str


@dataclass(frozen=True)
class IndexMetadata:
    """Metadata of a database, stored in ``index.json``.

    Args:
        limits: when a reference is a near-duplicate of a query.
        index: kind of the index: flat, ivf or hnsw.
        recall: recall@10 of the index against an exact search.
        encoder_settings: from which the encoder can be built again; empty when unknown.
    """

    limits: NearDuplicates = field(default_factory=NearDuplicates)
    index: str = "auto"
    recall: float = 1.0
    encoder_settings: JsonObject = field(default_factory=dict)

    @staticmethod
    def from_file(about: IndexFile) -> "IndexMetadata":
        """Of a saved database; earlier versions, which had flat indexes only, lack ``recall`` and ``encoder_settings``."""
        kind = {"IndexFlatIP": "flat", "IndexIVFFlat": "ivf", "IndexHNSWFlat": "hnsw"}[about["kind"]]
        recall = about["recall"]["value"] if "recall" in about else 1.0
        return IndexMetadata(NearDuplicates(**about["limits"]), kind, recall, about.get("encoder_settings", {}))


class ReferenceWriter:
    """Writes the folder that ``ReferenceDatabase.load`` reads; it can be read after ``close`` only."""

    def __init__(
        self,
        folder: Path | str,
        encoder_digest: str,
        limits: NearDuplicates | None = None,
        *,
        index: str = "auto",
        encoder_settings: JsonObject | None = None,
        expected: int = 0,
    ) -> None:
        """Raises ModelError for an unknown kind of index.

        Args:
            folder: created if missing.
            encoder_digest: of the encoder of the vectors and tokens.
            limits: of near-duplicates, stored for searches.
            index: auto, flat, ivf or hnsw.
            encoder_settings: from which the encoder can be built again for new images.
            expected: about how many vectors will be added; memory for them is reserved once.
        """
        kind_for(index, 0)
        self._home = Path(folder)
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "index.json").unlink(missing_ok=True)
        self._encoder, self._limits = encoder_digest, limits or NearDuplicates()
        self._kind, self._settings = index, dict(encoder_settings or {})
        self._index: faiss.IndexFlatIP | None = None
        self._expected = expected
        self._grid: tuple[int, ...] = (1, 1)
        self._tokens = (self._home / "tokens.npy.partial").open("wb")
        self._header(0)
        self._rows = EntriesWriter(str(self._home / "references.parquet.partial"))

    def add(self, vectors: Reals, tokens: Reals, entries: Sequence[Reference]) -> None:
        """Appends vectors [N, D] (normalised here), tokens [N, T, C] (stored as fp16) and N entries; raises ModelError."""
        self.add_normalised(l2_normalise(np.asarray(vectors, np.float32)), tokens, entries)

    def add_normalised(self, vectors: Floats, tokens: Reals, entries: Sequence[Reference]) -> None:
        """``add`` for vectors that are L2-normalised already.

        Raises ModelError when the counts differ, or D, T or C differ from those of the first call.
        """
        if not len(vectors) == len(tokens) == len(entries):
            raise ModelError(
                f"{len(vectors)} vectors, {len(tokens)} token grids and {len(entries)} entries do not match"
            )
        if self._index is None:
            self._index, self._grid = faiss.IndexFlatIP(vectors.shape[1]), tuple(tokens.shape[1:])
            self._index.codes.resize(self._expected * vectors.shape[1] * 4)
            self._index.codes.resize(0)  # keeps the reserved memory
        if (self._index.d, *self._grid) != (vectors.shape[1], *tokens.shape[1:]):
            raise ModelError(
                f"vectors of {vectors.shape[1]} and tokens of {tokens.shape[1:]} do not fit {self._index.d} and {self._grid}"
            )
        for start in range(0, len(vectors), BLOCK):
            block = slice(start, start + BLOCK)
            self._index.add(np.ascontiguousarray(vectors[block]))
            self._tokens.write(np.asarray(tokens[block], np.float16).tobytes())
        self._rows.add(entries.table if isinstance(entries, Entries) else as_table(entries))

    def close(self) -> tuple[str, ...]:
        """Completes the folder, ``index.json`` last, and gives the names of its files. Raises ModelError for a duplicate key."""
        flat = self._index if self._index is not None else faiss.IndexFlatIP(1)
        self._header(flat.ntotal)
        self._tokens.close()
        if not self._rows.close():
            raise ModelError("the reference database was given a key twice")
        files = (*FILES, *self._write_index(flat))
        for name in files:
            os.replace(self._home / f"{name}.partial", self._home / name)
        about = self._home / "index.json.partial"
        about.write_text(json.dumps(self._index_file(flat, files), indent=1), "utf-8")
        os.replace(about, self._home / "index.json")
        return (*files, "index.json")

    def _write_index(self, flat: faiss.Index) -> tuple[str, ...]:
        """Writes the index and, for an approximate one, the vectors; gives the names of files other than FILES."""
        kind = kind_for(self._kind, flat.ntotal)
        index, self._info = (flat, IndexInfo("IndexFlatIP")) if kind == "flat" else build_index(vectors_of(flat), kind)
        faiss.write_index(index, str(self._home / "index.faiss.partial"))
        if kind == "flat":
            (self._home / VECTORS).unlink(missing_ok=True)
            return ()
        with (self._home / f"{VECTORS}.partial").open("wb") as file:
            np.save(file, vectors_of(flat), allow_pickle=False)
        return (VECTORS,)

    def _header(self, count: int) -> None:
        """Writes the header of the .npy file; numpy pads it so that ``count`` can be replaced later."""
        self._tokens.seek(0)
        about = {"descr": "<f2", "fortran_order": False, "shape": (count, *self._grid)}
        np.lib.format.write_array_header_1_0(self._tokens, about)

    def _index_file(self, flat: faiss.Index, files: Sequence[str]) -> IndexFile:
        side = round(self._grid[0] ** 0.5)
        return {
            "metric": METRIC,
            **self._info.as_json(),
            "dim": int(flat.d),
            "count": int(flat.ntotal),
            "tokens": list(self._grid),
            "grid": [side, side],
            "encoder": self._encoder,
            "encoder_settings": self._settings,
            "limits": {"cosine": self._limits.cosine, "phash_bits": self._limits.phash_bits},
            "bytes": {name: (self._home / name).stat().st_size for name in files},
            "faiss": faiss.__version__,
        }


def l2_normalise(vectors: Floats) -> Floats:
    """Vectors [N, D] scaled to unit length."""
    lengths: Floats = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors / lengths
