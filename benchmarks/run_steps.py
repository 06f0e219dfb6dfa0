"""Steps of one process that a large run repeats for each shard or does for all photographs at once: processor seconds, and growth.

    python -m benchmarks.run_steps --photos 100000

Each step is timed at a tenth of the photographs and at all of them. A growth of 1 is linear, 10 the square. ``procrop-data bench
rehearsal`` includes these figures.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence

import faiss
import numpy as np
import pyarrow as pa

from pipeline.app.refresh_sources import ROWS_A_GROUP
from pipeline.core.stage import Outcome
from pipeline.runs.plan import Plan
from pipeline.runs.run_directory import Run
from pipeline.shards import parquet
from pipeline.storage.open_store import open_store
from stages.near_duplicates import vector_pairs
from stages.near_duplicates.split_leaks import Leak
from stages.near_duplicates.vector_pairs import VectorPairs
from stages.photos.perceptual_hash import near_pairs
from stages.photos.source_scan import SOURCES
from stages.publishing.shard_assignment import spread_over_shards

PHOTOS_A_SHARD = 1000
WIDTH = 320  # of the embedded encoder's vectors
Growth = dict[str, dict[str, float]]


def step_growth(photos: int) -> Growth:
    """By step: processor seconds at a tenth of the photographs (``tenth``), at all (``whole``), and ``growth`` per photograph."""
    found: Growth = {}
    for name, step in STEPS.items():
        tenth, whole = (_seconds(step, count) for count in (photos // 10, photos))
        found[name] = {
            "tenth": round(tenth, 3),
            "whole": round(whole, 3),
            "growth": round(whole / max(tenth, 1e-3) / 10, 3),
        }
    return found


def _seconds(step: Callable[[int], Callable[[], object]], photos: int) -> float:
    run = step(photos)
    started = time.process_time()
    run()
    return time.process_time() - started


def _sources_of_all_shards(photos: int) -> Callable[[], object]:
    shards = max(1, photos // PHOTOS_A_SHARD)
    numbers = np.sort(np.arange(photos) % shards)
    text = {name: pa.array([f"{name} {n:012d}" for n in range(photos)]) for name in ("key", "uri", "author")}
    columns = {name: text.get(name, pa.array([""] * photos)) for name in SOURCES.names}
    whole = {
        "shard": pa.array(numbers),
        "offset": pa.array(np.full(photos, -1)),
        "size": pa.array(np.zeros(photos, int)),
    }
    table = pa.table([{**columns, **whole}[name] for name in SOURCES.names], schema=SOURCES)
    store = open_store(tempfile.mkdtemp(prefix="procrop-steps-"))
    store.write("sources.parquet", parquet.encode_table(table, ROWS_A_GROUP))
    run = Run(store, Plan("steps", 0, shards))

    def read() -> None:
        for shard in range(shards):
            run.sources(shard)
        store.remove("sources.parquet")

    return read


def _dropped_canvases(photos: int) -> Callable[[], object]:
    shards = max(1, photos // PHOTOS_A_SHARD)
    leak = Leak("", "", "train", "near_duplicate", "", "", 0, 1.0, 0.0)
    names = [f"{n:024x}" for n in range(photos // 20)]

    def spread() -> None:
        dropped = spread_over_shards([(f"{name}-00", name) for name in names], shards)
        for number in range(shards):
            [Outcome.rejected(key, leak.reason, leak.detail) for key, _ in sorted(dropped.get(number, ()))]

    return spread


def _near_hashes(photos: int) -> Callable[[], object]:
    codes = np.random.default_rng(0).integers(0, 1 << 63, photos).astype(np.uint64)
    return lambda: near_pairs(codes, 6)


def _near_vectors(photos: int) -> Callable[[], object]:
    """Vectors whose directions fall off as those of photographs do, searched through the index whatever their number."""
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((WIDTH, WIDTH), np.float32) * np.exp(-np.arange(WIDTH, dtype=np.float32) / 30)[:, None]
    vectors = (rng.standard_normal((photos, WIDTH), np.float32) @ mixed).astype(np.float16)

    def search() -> None:
        threads, exact = faiss.omp_get_max_threads(), vector_pairs.EXACT_UP_TO
        faiss.omp_set_num_threads(1)
        vector_pairs.EXACT_UP_TO = 0
        try:
            for _ in VectorPairs(vectors, 0.8).pairs():
                pass
        finally:
            faiss.omp_set_num_threads(threads)
            vector_pairs.EXACT_UP_TO = exact

    return search


STEPS: dict[str, Callable[[int], Callable[[], object]]] = {
    "sources of all shards": _sources_of_all_shards,
    "dropped canvases": _dropped_canvases,
    "near hashes": _near_hashes,
    "near vectors": _near_vectors,
}


def main(arguments: Sequence[str] = ()) -> None:
    """Print the growth of each step as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    print(json.dumps(step_growth(parser.parse_args(arguments or None).photos), indent=1))


if __name__ == "__main__":
    main()
