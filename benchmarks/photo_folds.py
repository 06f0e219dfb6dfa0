"""Cross-validation by photograph: a run directory's canvases dealt into folds, each a dataset with its own references.

Of a fold, ``test`` has the canvases of its photographs (at most ``MOST`` each), ``train`` all others; there is no ``val``, so that
a training takes its last epoch and nothing is chosen on what it is measured on. References are the train photographs.

``takes`` makes a *series* instead, data where retrieval can help by its nature: the references are two other takes of every
photograph (another framing of 85 to 95 % of a side, other colours, degraded), those held out too, and the photograph itself is
none of them. Who photographs one scene several times, as people do, has such a database.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import UsageError
from pipeline.core.seeds import seed_for
from pipeline.shards.dataset import ShardSet
from pipeline.shards.write_shard import write_shard
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.retrieval.database import Reference, ReferenceDatabase
from procrop_model.training.augment import AugmentConfig, degrade_image, recolour

MOST = 8
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Fold:
    """Folders as ``procrop_model.training.train`` reads them."""

    dataset: Path
    retrieve: Path


@dataclass(frozen=True)
class _Canvas:
    key: str
    photo: str
    parts: dict[str, bytes]
    vector: NDArray[np.float32]


def make_folds(work: Path, out: Path, count: int, *, k: int, takes: int = 0, seed: int = 0) -> list[Fold]:
    """The folds of the photographs of ``work``, made below ``out`` unless they are there. Raises UsageError for too few."""
    folds = [Fold(out / f"fold-{number}" / "dataset", out / f"fold-{number}" / "retrieve") for number in range(count)]
    if all((fold.retrieve / "references" / "index.json").exists() for fold in folds):
        return folds
    encoder = Lite0Encoder()
    canvases = _canvases(work, encoder)
    photos = sorted({canvas.photo for canvas in canvases}, key=lambda photo: seed_for(seed, "fold", photo))
    if not 2 <= count <= len(photos):
        raise UsageError(f"{len(photos)} photographs make 2 to {len(photos)} folds, not {count}")
    owner = {photo: number % count for number, photo in enumerate(photos)}
    references = _references(work, encoder, set(photos), takes, seed)
    for number, fold in enumerate(folds):
        train = [canvas for canvas in canvases if owner[canvas.photo] != number]
        test = _at_most([canvas for canvas in canvases if owner[canvas.photo] == number])
        (fold.dataset / "shards").mkdir(parents=True, exist_ok=True)
        for split, chosen in (("train", train), ("test", test)):
            samples = [(canvas.key, canvas.parts) for canvas in chosen]
            write_shard(fold.dataset / "shards" / f"fold-{split}-000000.tar", samples)
        known = [row for row in references if takes or owner[row[0].photo] != number]
        _write_references(fold.retrieve, known, [*train, *test], encoder, k)
    return folds


def _canvases(work: Path, encoder: Lite0Encoder) -> list[_Canvas]:
    """All samples of the final shards, of whatever split, by key."""
    found = []
    for sample in ShardSet(sorted((work / "dataset" / "shards").glob("*.tar"))):
        vectors, _ = encoder.features([_pixels(sample.parts["jpg"])])
        photo = json.loads(sample.parts["json"])["photo"]
        found.append(_Canvas(sample.key, photo, sample.parts, vectors[0].numpy()))
    return sorted(found, key=lambda canvas: canvas.key)


def _at_most(canvases: Sequence[_Canvas]) -> list[_Canvas]:
    seen: dict[str, int] = {}
    chosen = []
    for canvas in canvases:
        seen[canvas.photo] = seen.get(canvas.photo, 0) + 1
        if seen[canvas.photo] <= MOST:
            chosen.append(canvas)
    return chosen


def _references(
    work: Path, encoder: Lite0Encoder, photos: set[str], takes: int, seed: int
) -> list[tuple[Reference, NDArray[np.float32], NDArray[np.float32]]]:
    """Reference, vector and tokens of each photograph, or of other takes of it."""
    found = []
    for sample in ShardSet(sorted((work / "ingest").glob("*.tar"))):
        if sample.key not in photos:
            continue
        image = _pixels(sample.parts["jpg"])
        names = [f"{sample.key}-take{number}" for number in range(takes)] or [sample.key]
        for name in names:
            shown = _take(image, seed_for(seed, "take", name)) if takes else image
            vectors, tokens = encoder.features([shown])
            reference = Reference(name, name, "", "", "", "", "")
            found.append((reference, vectors[0].numpy(), tokens[0].numpy()))
    return found


def _take(image: Pixels, seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    share = rng.uniform(0.85, 0.95)
    left, top = (int(rng.uniform(0, 1 - share) * side) for side in (width, height))
    framed = Image.fromarray(image).crop((left, top, left + int(share * width), top + int(share * height)))
    return degrade_image(recolour(framed, AugmentConfig(), rng), AugmentConfig(), rng)


def _write_references(
    folder: Path,
    known: Sequence[tuple[Reference, NDArray[np.float32], NDArray[np.float32]]],
    canvases: Sequence[_Canvas],
    encoder: Lite0Encoder,
    k: int,
) -> None:
    references, vectors, tokens = zip(*known, strict=True)
    database = ReferenceDatabase.build(np.stack(vectors), np.stack(tokens), references, encoder.digest)
    own = np.stack([canvas.vector for canvas in canvases])
    hits = database.search(own, k, exclude=[{canvas.photo} for canvas in canvases])
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"key": canvas.key, "status": "kept", "references": hit.keys, "similarities": hit.similarities}
        for canvas, hit in zip(canvases, hits, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "000000.parquet")
    database.save(folder / "references")


def _pixels(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
