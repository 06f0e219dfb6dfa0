"""Pairs of close vectors: all against all up to ``EXACT_UP_TO``, beyond through an inverted index whose recall is measured.

The time of the exact search grows with the square of the number of vectors, that of the index linearly but for a logarithm: its
lists stay equally long, and a graph (HNSW) leads to the nearest ones.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 100_000
# Vectors compared at a time, BLOCK with KEYS: a product of 256 x 2,048 float32 is 2 MB and stays in a processor's cache.
BLOCK = 256
KEYS = 2048
# Vectors are compared after a projection on this many principal directions; a projection never increases a distance, so no pair
# is missed.
DIRECTIONS = 64
A_LIST = 64  # vectors a list: its centre is one of so many vectors
PROBES = (32, 64, 128, 256)  # lists that a query looks into: as many as reach the recall, or the last
RECALL = 0.95
SAMPLE = 1024  # vectors whose close ones are searched exactly, too, to measure the recall
LINKS, EFFORT = 16, 64  # of the graph over the centres
ROUNDING = 1e-4
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class VectorPairs:
    """The pairs (i, j), i < j, that include those of vectors fp16 [N, D] whose cosine is at least ``cosine``.

    recall: share of them that ``pairs`` gives, once that has ended; 1 for an exact search.
    """

    def __init__(self, vectors: NDArray[np.float16], cosine: float) -> None:
        self._vectors = vectors
        # Squared distance of unit vectors is 2 - 2 cosine; the slack covers rounding.
        self._reach = 2 - 2 * cosine + ROUNDING
        self._mean, self._directions = _main_directions(vectors)
        self.recall = 1.0

    def pairs(self) -> Iterator[tuple[Integers, Integers]]:
        """Rows i and j of the pairs, block by block; the same vectors give the same pairs."""
        return self._exact() if len(self._vectors) <= EXACT_UP_TO else self._indexed()

    def _flat(self, rows: slice | Integers) -> Floats:
        """Unit vectors on their main directions: float32 [n, DIRECTIONS]."""
        unit = unit_rows(self._vectors[rows])
        return unit if self._directions is None else ((unit - self._mean) @ self._directions).astype(np.float32)

    def _exact(self) -> Iterator[tuple[Integers, Integers]]:
        flat = np.concatenate([self._flat(block) for block in _blocks(len(self._vectors), KEYS)])
        for block in _blocks(len(flat), BLOCK):
            for keys in _blocks(block.stop, KEYS):
                rows, columns = np.nonzero(_distances(flat[block], flat[keys]) <= self._reach)
                i, j = columns + keys.start, rows + block.start
                yield i[i < j].astype(np.int64), j[i < j].astype(np.int64)

    def _indexed(self) -> Iterator[tuple[Integers, Integers]]:
        index = self._index()
        self._choose_probes(index)
        for block in _blocks(len(self._vectors), KEYS):
            limits, _, found = index.range_search(self._flat(block), self._reach)
            rows = np.repeat(np.arange(block.start, block.stop), np.diff(limits).astype(np.int64))
            yield found[found < rows].astype(np.int64), rows[found < rows].astype(np.int64)

    def _index(self) -> faiss.IndexIVFFlat:
        """Every vector in the list of its nearest centre; the centres are vectors, evenly over all, so nothing is trained."""
        count = len(self._vectors)
        centres = self._flat(_spread(count, max(1, count // A_LIST)))
        graph = faiss.IndexHNSWFlat(centres.shape[1], LINKS, faiss.METRIC_L2)
        graph.hnsw.efConstruction = graph.hnsw.efSearch = EFFORT
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # the graph depends on the order of insertion
        graph.add(centres)
        faiss.omp_set_num_threads(threads)
        index = faiss.IndexIVFFlat(graph, centres.shape[1], len(centres), faiss.METRIC_L2)
        index.is_trained = True
        for block in _blocks(count, KEYS):
            index.add(self._flat(block))
        self._graph = graph  # the index only points to it
        return index

    def _choose_probes(self, index: faiss.IndexIVFFlat) -> None:
        """Look into as many lists as give enough of the close pairs of a sample."""
        sample = _spread(len(self._vectors), SAMPLE)
        queries = self._flat(sample)
        exact = -len(sample)  # every vector is close to itself
        for block in _blocks(len(self._vectors), KEYS):
            exact += int((_distances(queries, self._flat(block)) <= self._reach).sum())
        for probes in PROBES:
            index.nprobe = probes
            self._graph.hnsw.efSearch = max(EFFORT, 2 * probes)
            limits, _, _ = index.range_search(queries, self._reach)
            self.recall = min(1.0, (int(limits[-1]) - len(sample)) / exact) if exact > 0 else 1.0
            if self.recall >= RECALL:
                return


def _main_directions(vectors: NDArray[np.float16]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Mean [D] and main directions [D, DIRECTIONS] of the unit vectors; no directions where D is no more."""
    blocks, width = _blocks(len(vectors), KEYS), vectors.shape[1]
    mean = sum((unit_rows(vectors[block]).sum(0, dtype=np.float64) for block in blocks), np.zeros(width)) / len(vectors)
    if width <= DIRECTIONS:
        return mean, None
    spread = np.zeros((width, width))
    for block in blocks:
        centred = unit_rows(vectors[block]) - mean
        spread += centred.T @ centred
    _, directions = np.linalg.eigh(spread)
    return mean, directions[:, -DIRECTIONS:]


def _distances(a: Floats, b: Floats) -> Floats:
    """Squared distances [N, M]."""
    squared: Floats = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("nd,nd->n", b, b) - 2 * (a @ b.T)
    return squared


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _spread(count: int, most: int) -> Integers:
    """At most so many rows, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def unit_rows(vectors: NDArray[np.float16]) -> Floats:
    """Rows of length 1, float32 [N, D]; a row of nothing stays one."""
    exact = vectors.astype(np.float32)
    lengths: Floats = np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-6)
    return exact / lengths
