"""Neighbours of samples of public sets, which no ``retrieve`` stage searched: computed once and stored beside the model."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.seeds import digest_of
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.training.run_files import write_text
from procrop_model.training.samples import CanvasSample

Encode = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
BATCH = 16


def neighbours_for(
    samples: Iterable[CanvasSample],
    keys: Sequence[str],
    *,
    database: ReferenceDatabase,
    encode: Encode,
    k: int,
    folder: Path,
) -> dict[str, list[Neighbour]]:
    """The k most similar references of each sample by key, without the sample itself, its photo and near-duplicates of it.

    Args:
        samples: read only when ``folder`` has no stored result for these arguments.
        keys: of the samples.
        database: the references.
        encode: images uint8 [H, W, 3] -> vectors [B, D].
        k: references per sample.
        folder: where the result is stored; a stored result is the same to the bit.
    """
    inputs = [k, list(keys), database.encoder, list(database.entries.table["key"].to_pylist())]
    path = folder / f"neighbours-{digest_of(inputs)[:16]}.json"
    if not path.exists():
        pairs: dict[str, list[tuple[str, float]]] = {}
        rest = iter(samples)
        while some := list(islice(rest, BATCH)):
            pairs.update(_search(some, database, encode, k))
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(pairs))
    stored: dict[str, list[tuple[str, float]]] = json.loads(path.read_text("utf-8"))
    return {key: [Neighbour(*pair) for pair in row] for key, row in stored.items()}


def _search(
    samples: Sequence[CanvasSample], database: ReferenceDatabase, encode: Encode, k: int
) -> dict[str, list[tuple[str, float]]]:
    if not k or not len(database):
        return {sample.key: [] for sample in samples}
    vectors = encode([sample.decode().image for sample in samples])
    exclude = [{sample.key, sample.photo} for sample in samples]
    hits = database.search(vectors, k, exclude=exclude, parents=vectors)
    return {
        sample.key: list(zip(hit.keys, hit.similarities, strict=True))
        for sample, hit in zip(samples, hits, strict=True)
    }
