"""Samples for the benchmarks of shards: random bytes or real photographs, each with a JSON and an array, and their shards."""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.resources import bundled
from pipeline.shards.write_shard import write_shard

Pair = tuple[str, dict[str, bytes]]  # key, bytes by extension
SMALLEST, LARGEST = 25_000, 100_000
PER_SHARD = 1000


def random_samples(count: int) -> list[Pair]:
    """Samples with the sizes of canvases: 25 to 100 KB of random bytes, 0.6 KB of JSON, 0.2 KB of npy; the same each time."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(SMALLEST, LARGEST, count).tolist()
    return [(f"{number:08d}", _parts(number, rng.bytes(size), rng)) for number, size in enumerate(sizes)]


def photographs(count: int, side: int) -> list[Pair]:
    """Samples of the bundled photographs, shrunk to a long side of ``side`` and repeated in turn up to ``count``."""
    rng, encoded = np.random.default_rng(0), []
    for path in sorted((bundled("assets") / "photos").glob("*.jpg")):
        with Image.open(path) as file:
            image = file.convert("RGB")
        scale = side / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=90)
        encoded.append(sink.getvalue())
    pictures = islice(cycle(encoded), count)
    return [(f"{number:08d}", _parts(number, picture, rng)) for number, picture in enumerate(pictures)]


def _parts(number: int, picture: bytes, rng: np.random.Generator) -> dict[str, bytes]:
    crops = rng.uniform(0, 1000, (8, 4)).round(2)
    about = {
        "key": f"{number:08d}",
        "photo": f"photo{number // 5}",
        "crops": crops.tolist(),
        "prompt": "a photograph " * 10,
    }
    sink = io.BytesIO()
    np.save(sink, crops.astype(np.float32), allow_pickle=False)
    return {"jpg": picture, "json": json.dumps(about).encode(), "npy": sink.getvalue()}


def in_shards(samples: Sequence[Pair], size: int = PER_SHARD) -> Iterator[tuple[int, Sequence[Pair]]]:
    """(number, samples) of each shard."""
    return ((number, samples[start : start + size]) for number, start in enumerate(range(0, len(samples), size)))


def write_dataset(home: Path, samples: Sequence[Pair], size: int = PER_SHARD) -> list[Path]:
    """Our shards and their indexes, as ``build`` lays them out; gives the tars."""
    (home / "shards").mkdir(parents=True)
    (home / "index").mkdir()
    tars = []
    for number, part in in_shards(samples, size):
        tars.append(home / "shards" / f"bench-train-{number:06d}.tar")
        _, index = write_shard(tars[-1], part)
        (home / "index" / f"{tars[-1].stem}.idx").write_bytes(index.encode())
    return tars


def megabytes(samples: Sequence[Pair]) -> float:
    """Bytes of all parts, in MB."""
    return sum(len(data) for _, parts in samples for data in parts.values()) / 1e6


@contextmanager
def quiet_folder(where: Path | None) -> Iterator[Path]:
    """A folder that is removed afterwards, in ``where`` or among temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="procrop-bench-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def settled(folder: Path) -> None:
    """Empty the folder and let the disk finish, so that nobody pays for what another contender left in the cache."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
