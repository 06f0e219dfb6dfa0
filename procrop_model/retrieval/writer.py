"""Writing a retrieval database a piece at a time: tokens go to disk as they come, and memory holds the vectors only."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError
from procrop_model.retrieval.entries import Entries, EntriesWriter, Reference, as_table
from procrop_model.retrieval.index import IndexInfo, build_index, kind_for, vectors_of

METRIC = "inner_product_l2_normalised"
FILES = ("index.faiss", "tokens.npy", "references.parquet")
VECTORS = "vectors.npy"  # beside an approximate index only; a flat one holds them
BLOCK = 8192
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NearDuplicates:
    """When two photographs count as the same: cosine at or above the first, or perceptual hashes at most so many bits
    apart.

    The published code excludes neither the query nor its parent, so that the answer leaks (METHOD 3); both limits are
    ours.
    """

    cosine: float = 0.985
    phash_bits: int = 6


class ReferenceWriter:
    """Makes the folder that ``ReferenceDatabase.load`` reads; complete, and readable, after ``close`` only."""

    def __init__(
        self,
        folder: Path | str,
        encoder_digest: str,
        limits: NearDuplicates | None = None,
        *,
        index: str = "auto",
        encoder_settings: Mapping[str, Any] | None = None,
        expected: int = 0,
    ) -> None:
        """index: auto, flat, ivf or hnsw. encoder_settings: what builds the encoder again, kept as JSON for new images.
        expected: about how many vectors come; room for them is made once, not by doubling.
        """
        kind_for(index, 0)
        self._home = Path(folder)
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "index.json").unlink(missing_ok=True)
        self._encoder, self._limits = encoder_digest, limits or NearDuplicates()
        self._wanted, self._settings = index, dict(encoder_settings or {})
        self._index: Any = None
        self._expected = expected
        self._grid: tuple[int, ...] = (1, 1)
        self._tokens = (self._home / "tokens.npy.partial").open("wb")
        self._header(0)
        self._rows = EntriesWriter(str(self._home / "references.parquet.partial"))

    def add(self, vectors: NDArray[Any], tokens: NDArray[Any], entries: Sequence[Reference]) -> None:
        """Vectors [N, D] (normalised here), tokens [N, T, C] (kept as fp16) and one entry a row; raises ModelError."""
        self.add_unit(unit(np.asarray(vectors, np.float32)), tokens, entries)

    def add_unit(self, vectors: Floats, tokens: NDArray[Any], entries: Sequence[Reference]) -> None:
        """The same with vectors whose length is 1 already.

        Raises ModelError when counts differ, or sizes differ from those of the first piece.
        """
        if not len(vectors) == len(tokens) == len(entries):
            raise ModelError(
                f"{len(vectors)} vectors, {len(tokens)} token grids and {len(entries)} entries do not match"
            )
        if self._index is None:
            self._index, self._grid = faiss.IndexFlatIP(vectors.shape[1]), tuple(tokens.shape[1:])
            self._index.codes.resize(self._expected * vectors.shape[1] * 4)
            self._index.codes.resize(0)  # keeps its room
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
        """Finish the folder, ``index.json`` last; gives the names of its files. Raises ModelError when a key came twice."""
        flat = self._index if self._index is not None else faiss.IndexFlatIP(1)
        self._header(flat.ntotal)
        self._tokens.close()
        if not self._rows.close():
            raise ModelError("the reference database was given a key twice")
        files = (*FILES, *self._write_index(flat))
        for name in files:
            os.replace(self._home / f"{name}.partial", self._home / name)
        about = self._home / "index.json.partial"
        about.write_text(json.dumps(self._about(flat, files), indent=1), "utf-8")
        os.replace(about, self._home / "index.json")
        return (*files, "index.json")

    def _write_index(self, flat: Any) -> tuple[str, ...]:
        """Writes the index, and the vectors beside one that does not hold them as they are; gives the further files."""
        kind = kind_for(self._wanted, flat.ntotal)
        index, self._info = (flat, IndexInfo("IndexFlatIP")) if kind == "flat" else build_index(vectors_of(flat), kind)
        faiss.write_index(index, str(self._home / "index.faiss.partial"))
        if kind == "flat":
            (self._home / VECTORS).unlink(missing_ok=True)
            return ()
        with (self._home / f"{VECTORS}.partial").open("wb") as file:
            np.save(file, vectors_of(flat), allow_pickle=False)
        return (VECTORS,)

    def _header(self, count: int) -> None:
        """The head of the .npy; numpy leaves room in it for the first number to grow."""
        self._tokens.seek(0)
        about = {"descr": "<f2", "fortran_order": False, "shape": (count, *self._grid)}
        np.lib.format.write_array_header_1_0(self._tokens, about)

    def _about(self, flat: Any, files: Sequence[str]) -> dict[str, Any]:
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
            "limits": asdict(self._limits),
            "bytes": {name: (self._home / name).stat().st_size for name in files},
            "faiss": faiss.__version__,
        }


def unit(vectors: Floats) -> Floats:
    """Vectors [N, D] made as long as 1."""
    lengths: Floats = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors / lengths
