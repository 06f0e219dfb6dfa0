"""The search index of a reference database: exact and flat, or approximate with its recall measured against the flat one.

Approximate indexes give candidates only: what a query gets is ordered, and its own photo left out, by the exact vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError

KINDS = ("auto", "flat", "ivf", "hnsw")
FLAT_UP_TO = 1_000_000  # vectors; until there a flat search is quick enough, and exact
GOAL = 0.95  # recall at build time that the search effort is raised for
AT, SAMPLE = 10, 256  # recall@10 over so many of the database's own vectors
EFFORTS = (8, 16, 32, 64, 128, 256, 512, 1024)
LINKS, BUILD_EFFORT = 32, 80  # of HNSW
A_LIST = 64  # training vectors a list of IVF
MOST = 2**31 - 1  # floats to a block that faiss takes at once
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class IndexInfo:
    """What ``index.json`` says of an index. recall: share of the flat search's 10 nearest that it finds; 1 for a flat one."""

    kind: str
    parameters: dict[str, int] = field(default_factory=dict)
    recall: float = 1.0
    queries: int = 0

    def as_json(self) -> dict[str, Any]:
        """For ``index.json``."""
        told = {"at": AT, "value": round(self.recall, 4), "queries": self.queries, "against": "flat"}
        return {"kind": self.kind, "parameters": self.parameters, "recall": told}


def kind_for(wanted: str, count: int) -> str:
    """``flat``, ``ivf`` or ``hnsw`` for so many vectors; raises ModelError for an unknown wish."""
    if wanted not in KINDS:
        raise ModelError(f"index '{wanted}' is none of {', '.join(KINDS)}")
    if wanted == "auto":
        return "flat" if count <= FLAT_UP_TO else "ivf"
    return wanted if count >= 2 * A_LIST else "flat"  # too few to part in lists or to link


def build_index(vectors: Floats, kind: str) -> tuple[Any, IndexInfo]:
    """An index over vectors [N, D] of length 1, and what is told of it. kind: as ``kind_for`` gives it.

    The same vectors give the same index: HNSW is linked by one thread, since the order of insertion shapes it.
    """
    if kind == "flat":
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return index, IndexInfo("IndexFlatIP")
    index, told, effort = _ivf(vectors) if kind == "ivf" else _hnsw(vectors)
    recall, chosen = 0.0, EFFORTS[0]
    rows, truth = _nearest_of_sample(vectors)
    for chosen in EFFORTS:
        effort(chosen)
        recall = _recall(index, vectors[rows], rows, truth)
        if recall >= GOAL or chosen >= told.get("lists", chosen + 1):
            break
    name = {"ivf": "nprobe", "hnsw": "efSearch"}[kind]
    return index, IndexInfo(type(index).__name__, {**told, name: chosen}, recall, len(rows))


def _ivf(vectors: Floats) -> tuple[Any, dict[str, int], Callable[[int], None]]:
    count, dim = vectors.shape
    lists = max(1, min(round(4 * count**0.5), count // A_LIST))
    coarse = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFFlat(coarse, dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = A_LIST
    index.cp.min_points_per_centroid = 1
    index.train(np.ascontiguousarray(vectors))
    _add(index, vectors)

    def effort(probes: int) -> None:
        index.nprobe = min(probes, lists)

    return index, {"lists": lists}, effort


def _hnsw(vectors: Floats) -> tuple[Any, dict[str, int], Callable[[int], None]]:
    index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_EFFORT
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        _add(index, vectors)
    finally:
        faiss.omp_set_num_threads(threads)

    def effort(size: int) -> None:
        index.hnsw.efSearch = size

    return index, {"links": LINKS, "efConstruction": BUILD_EFFORT}, effort


def _add(index: Any, vectors: Floats) -> None:
    block = max(1, MOST // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), block):
        index.add(np.ascontiguousarray(vectors[start : start + block]))


def _nearest_of_sample(vectors: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Evenly spaced rows [S] and their exact neighbours [S, 11], which are mostly themselves and 10 others."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.int64))
    return rows, exact_search(vectors, vectors[rows], AT + 1)[1]


def _recall(index: Any, queries: Floats, rows: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    _, found = index.search(np.ascontiguousarray(queries), AT + 1)
    shares = []
    for row, true, got in zip(rows, truth, found, strict=True):
        wanted = [r for r in true if r != row][:AT]
        shares.append(len(set(wanted) & set(got)) / len(wanted))
    return float(np.mean(shares))


def exact_search(vectors: Floats, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Inner products [B, k] and rows [B, k] of the k nearest of vectors [N, D], which may be a file's memory map."""
    similarities, rows = faiss.knn(
        np.ascontiguousarray(queries), np.ascontiguousarray(vectors), k, metric=faiss.METRIC_INNER_PRODUCT
    )
    return similarities, rows


def read_index(path: str) -> Any:
    """An index of a file, memory-mapped where faiss can: pages are read when they are searched."""
    return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)


def vectors_of(index: Any) -> Floats:
    """The vectors [N, D] of a flat index: its own memory, not a copy of it, so it must live as long as they."""
    shape = (int(index.ntotal), int(index.d))
    if not shape[0]:
        return np.zeros(shape, np.float32)
    own: Floats = faiss.rev_swig_ptr(index.get_xb(), shape[0] * shape[1]).reshape(shape)
    return own
