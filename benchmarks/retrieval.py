"""Bench ``retrieval``: exact top-10 of 242,000 vectors, ours with exclusion and keys beside faiss's bare flat index; IVF and HNSW.

Made-up vectors: groups of groups in 24 dimensions turned into 512, as embeddings of photographs have far fewer free dimensions
than numbers. Ours normalises the queries, looks 22 further than it must so that near-duplicates can be left out, orders by
similarities computed a query at a time, and gives keys. Its ids must be faiss's.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import OURS, alternate, finish, result, versions
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.retrieval.entries import Reference
from procrop_model.retrieval.index import AT

Floats = NDArray[np.float32]
SINGLE = "one query at a time"


def main(arguments: Sequence[str]) -> None:
    """Measure and print the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench retrieval", description=__doc__)
    parser.add_argument("--vectors", type=int, default=242_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1024, help="a batch")
    parser.add_argument("--single", type=int, default=24, help="of them searched one at a time")
    parser.add_argument("--approximate", type=int, default=60_000, help="vectors of the IVF and HNSW rows; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(list(arguments))
    made = made_up(options.vectors + options.queries, options.dim)
    vectors, queries = made[: options.vectors], made[options.vectors :]
    base = database_of(vectors, "flat")
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    contenders: dict[str, Callable[[], float]] = {
        OURS: partial(rate, partial(base.search, queries, AT), len(queries)),
        "faiss.IndexFlatIP": partial(rate, partial(base.index.search, queries, AT), len(queries)),
        SINGLE: partial(rate, partial(one_by_one, base, queries[: options.single]), options.single),
    }
    figures = alternate(contenders, options.rounds)
    differing = check_equal(base, queries)
    rows = [
        approximate(kind, vectors[: options.approximate], queries) for kind in ("ivf", "hnsw") if options.approximate
    ]
    finish(
        result(
            "retrieval", "queries/s", figures, higher_is_better=True,
            env={"vectors": options.vectors, "dim": options.dim, "batch": options.queries, **versions("faiss-cpu")},
            ties_swapped=differing, approximate=rows,
        )
    )  # fmt: skip


def made_up(count: int, dim: int, groups: int = 400, free: int = 24) -> Floats:
    """Vectors [count, dim] in groups."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(groups, free))
    inner = centres[rng.integers(0, groups, count)] + 0.5 * rng.normal(size=(count, free))
    turned = inner.astype(np.float32) @ rng.normal(size=(free, dim)).astype(np.float32)
    return turned + 0.3 * rng.normal(size=(count, dim)).astype(np.float32)


def database_of(vectors: Floats, kind: str) -> ReferenceDatabase:
    """A database of them, without tokens."""
    entries = [Reference(f"photo-{i}", f"photo-{i}", "", "", "", "", "") for i in range(len(vectors))]
    return ReferenceDatabase.build(vectors, np.zeros((len(vectors), 1, 1), np.float16), entries, "made-up", index=kind)


def rate(search: Callable[[], Any], count: int) -> float:
    """Queries a second."""
    started = time.perf_counter()
    search()
    return count / (time.perf_counter() - started)


def one_by_one(base: ReferenceDatabase, queries: Floats) -> None:
    """Each query in a search of its own."""
    for query in queries:
        base.search(query[None], AT)


def check_equal(base: ReferenceDatabase, queries: Floats) -> int:
    """How many neighbours stand in another place than faiss has them, all of them with the same similarity to 1e-5; raises
    SystemExit for any other difference.
    """
    similarities, ids = base.index.search(queries, AT)
    differing = 0
    for found, rows, values in zip(base.search(queries, AT), ids, similarities, strict=True):
        for ours, theirs, mine, value in zip(found.rows, rows, found.similarities, values, strict=True):
            differing += int(ours != theirs)
            if ours != theirs and abs(mine - value) > 1e-5:
                raise SystemExit(f"ours gives {ours} ({mine}) where faiss gives {theirs} ({value})")
    return differing


def approximate(kind: str, vectors: Floats, queries: Floats) -> dict[str, Any]:
    """Recall at 10 on queries that are not in the index, and what it costs to build and to ask."""
    started = time.perf_counter()
    base = database_of(vectors, kind)
    built = time.perf_counter() - started
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(np.ascontiguousarray(base.vectors))
    _, truth = flat.search(queries, AT)
    found = base.search(queries, AT)
    recall = np.mean([len(set(a.rows) & set(b)) / AT for a, b in zip(found, truth, strict=True)])
    speeds = [rate(partial(base.search, queries, AT), len(queries)) for _ in range(3)]
    flats = [rate(partial(flat.search, queries, AT), len(queries)) for _ in range(3)]
    return {
        "index": kind, "vectors": len(vectors), "built_s": round(built, 1), "recall_told": round(base.metadata.recall, 4),
        "recall": round(float(recall), 4), "queries_s": round(float(np.median(speeds)), 1),
        "faiss_flat_queries_s": round(float(np.median(flats)), 1),
    }  # fmt: skip
