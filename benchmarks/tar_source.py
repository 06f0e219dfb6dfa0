"""Ingest of WebDataset tars: how often the headers of a tar are walked, and the peak memory of the process.

    python -m benchmarks.tar_source --tars 8 --pictures 25
    python -m benchmarks.tar_source --tars 9 --pictures 50 --padding 4000000

Each sample has a small photograph, followed by ``padding`` bytes, and the ``.json`` and ``.txt`` of img2dataset. The photographs of
a work shard lie in all tars, because shards are chosen by hash.
"""

import argparse
import io
import json
import resource
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.rehearsal import session_for
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.engine.shard_runner import Control, run_shard
from stages.photos import archive_reader
from stages.recipe import Recipe

SHARDS = 4


def measure(tars: int, pictures: int, padding: int) -> dict[str, Any]:
    """``walks`` of headers, ``kept`` photographs, ``megabytes`` of tars, ``peak_mib`` and ``seconds`` of listing and ingest."""
    walks = 0
    real = archive_reader.tar_places

    def counted(path: Path) -> Any:
        nonlocal walks
        walks += 1
        return real(path)

    with tempfile.TemporaryDirectory(prefix="procrop-tars-") as folder:
        home = Path(folder)
        size = sum(_write(home / f"{number:05d}.tar", number, pictures, padding) for number in range(tars))
        source = {"source": f"{home}/*.tar", "near_duplicate_bits": 0}
        session = session_for(
            Recipe.model_validate({"name": "tars", "work_shards": SHARDS, "ingest": source}), home / "work"
        )
        archive_reader.tar_places = counted
        started = time.perf_counter()
        try:
            refresh_sources(session, Display(quiet=True))
            receipts = [run_shard(session.stages[0], session.run, shard, Control()) for shard in range(SHARDS)]
        finally:
            archive_reader.tar_places = real
        return {
            "walks": walks,
            "kept": sum(receipt.n_kept for receipt in receipts),
            "megabytes": round(size / 1e6),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "seconds": round(time.perf_counter() - started, 1),
        }


def _write(path: Path, number: int, pictures: int, padding: int) -> int:
    """A tar of photographs with what img2dataset writes beside them; gives its bytes."""
    rng = np.random.default_rng(number)
    with tarfile.open(path, "w") as tar:
        for place in range(pictures):
            sink = io.BytesIO()
            coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
            coarse.resize((320, 240), Image.Resampling.BICUBIC).save(sink, "JPEG")
            about = {"url": f"https://example.org/{place}.jpg", "caption": "a cat", "license": "CC0"}
            parts = {"jpg": sink.getvalue() + bytes(padding), "json": json.dumps(about).encode(), "txt": b"a cat"}
            for extension, data in parts.items():
                info = tarfile.TarInfo(f"{number:05d}{place:04d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path.stat().st_size


def main(arguments: Sequence[str] = ()) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tars", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=25)
    parser.add_argument("--padding", type=int, default=0, help="bytes after each photograph")
    options = parser.parse_args(arguments or None)
    print(json.dumps(measure(options.tars, options.pictures, options.padding)))


if __name__ == "__main__":
    main()
