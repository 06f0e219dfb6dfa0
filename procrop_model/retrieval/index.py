"""The faiss index of a reference database: exact (flat), or approximate with its recall measured against the flat one.

Approximate indexes give candidates only: results are ordered, and a query's own photo is excluded, by the exact vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError

KINDS = ("auto", "flat", "ivf", "hnsw")
FLAT_UP_TO = 1_000_000  # vectors; up to here an exact flat search is fast enough (BENCHMARKS.md)
GOAL = 0.95  # recall at build time; the search effort is raised until it is reached
AT, SAMPLE = 10, 256  # recall@10, measured with this many of the database's own vectors as queries
EFFORTS = (8, 16, 32, 64, 128, 256, 512, 1024)
LINKS, BUILD_EFFORT = 32, 80  # of HNSW: neighbours per node (M) and candidates per insertion (efConstruction)
A_LIST = 64  # training vectors per inverted list of IVF
MOST = 2**31 - 1  # bytes per call of ``add``: faiss overflows beyond
Floats = NDArray[np.float32]


class RecallEntry(TypedDict):
    """``recall`` of ``index.json``: recall@``at`` of ``queries`` queries against an exact search."""

    at: int
    value: float
    queries: int
    against: str


class IndexEntry(TypedDict):
    """The part of ``index.json`` that describes the index: faiss class, its parameters and recall."""

    kind: str
    parameters: dict[str, int]
    recall: RecallEntry


@dataclass(frozen=True)
class IndexInfo:
    """A built index.

    Args:
        kind: its faiss class.
        parameters: of building and searching.
        recall: share of the exact search's 10 nearest that it finds; 1 for a flat index.
        queries: with how many queries recall was measured.
    """

    kind: str
    parameters: dict[str, int] = field(default_factory=dict)
    recall: float = 1.0
    queries: int = 0

    def as_json(self) -> IndexEntry:
        """For ``index.json``."""
        recall: RecallEntry = {"at": AT, "value": round(self.recall, 4), "queries": self.queries, "against": "flat"}
        return {"kind": self.kind, "parameters": self.parameters, "recall": recall}


def kind_for(setting: str, count: int) -> str:
    """``flat``, ``ivf`` or ``hnsw`` for ``count`` vectors; raises ModelError for a setting that is not one of KINDS."""
    if setting not in KINDS:
        raise ModelError(f"index '{setting}' is none of {', '.join(KINDS)}")
    if setting == "auto":
        return "flat" if count <= FLAT_UP_TO else "ivf"
    return setting if count >= 2 * A_LIST else "flat"  # too few vectors to cluster or to link


def build_index(vectors: Floats, kind: str) -> tuple[faiss.Index, IndexInfo]:
    """An index over L2-normalised vectors [N, D] and its description. kind: from ``kind_for``.

    The same vectors give the same index: HNSW is built by one thread, since its graph depends on the order of insertion.
    """
    if kind == "flat":
        flat: faiss.Index = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors))
        return flat, IndexInfo("IndexFlatIP")
    index, parameters, effort = _ivf(vectors) if kind == "ivf" else _hnsw(vectors)
    recall, chosen = 0.0, EFFORTS[0]
    rows, truth = _nearest_of_sample(vectors)
    for chosen in EFFORTS:
        effort(chosen)
        recall = _recall(index, vectors[rows], rows, truth)
        if recall >= GOAL or chosen >= parameters.get("lists", chosen + 1):
            break
    name = {"ivf": "nprobe", "hnsw": "efSearch"}[kind]
    return index, IndexInfo(type(index).__name__, {**parameters, name: chosen}, recall, len(rows))


def _ivf(vectors: Floats) -> tuple[faiss.Index, dict[str, int], Callable[[int], None]]:
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


def _hnsw(vectors: Floats) -> tuple[faiss.Index, dict[str, int], Callable[[int], None]]:
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


def _add(index: faiss.Index, vectors: Floats) -> None:
    block = max(1, MOST // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), block):
        index.add(np.ascontiguousarray(vectors[start : start + block]))


def _nearest_of_sample(vectors: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Evenly spaced rows [S] and their 11 exact neighbours [S, 11], of which one is usually the row itself."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.int64))
    return rows, exact_search(vectors, vectors[rows], AT + 1)[1]


def _recall(index: faiss.Index, queries: Floats, rows: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    _, nearest = index.search(np.ascontiguousarray(queries), AT + 1)
    shares = []
    for row, exact, approximate in zip(rows, truth, nearest, strict=True):
        others = [r for r in exact if r != row][:AT]
        shares.append(len(set(others) & set(approximate)) / len(others))
    return float(np.mean(shares))


def exact_search(vectors: Floats, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Inner products [B, k] and rows [B, k] of the k nearest of vectors [N, D], which may be memory-mapped."""
    similarities, rows = faiss.knn(
        np.ascontiguousarray(queries), np.ascontiguousarray(vectors), k, metric=faiss.METRIC_INNER_PRODUCT
    )
    return similarities, rows


def read_index(path: str) -> faiss.Index:
    """The index in a file, memory-mapped where faiss can."""
    index: faiss.Index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
    return index


def vectors_of(index: faiss.Index) -> Floats:
    """The vectors [N, D] of a flat index: a view of its memory, so the index must outlive them."""
    shape = (int(index.ntotal), int(index.d))
    if not shape[0]:
        return np.zeros(shape, np.float32)
    assert isinstance(index, faiss.IndexFlat)
    vectors: Floats = faiss.rev_swig_ptr(index.get_xb(), shape[0] * shape[1]).reshape(shape)
    return vectors
