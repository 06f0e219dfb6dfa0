"""Decoding photographs of 1024 px to 256 px RGB with two workers: our loader and JPEG's own scaling beside webdataset and PIL.

procrop-data bench decode [--samples 396] [--rounds 5] [--side 256] [--detail 1]

The peer decodes fully and resizes with the same filter. The RESULT says how far the pixels are apart: PSNR of each picture, ours
against the peer's, for --detail 1 (what is timed) and for 2.
"""

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from PIL import Image

from benchmarks.harness import OURS, alternate, finish, result, versions
from benchmarks.payload import photographs, quiet_folder, write_dataset
from pipeline.shards.dataset import ShardSample, ShardSet
from pipeline.shards.epoch_order import EpochOrder, Feed
from procrop_model.training.loading import SampleLoader, decode_small

PEER = "webdataset + PIL"
WORKERS, BATCH, SHARDS, ENCODED_SIDE = 2, 32, 4, 1024


def make(sample: ShardSample, side: int, detail: int) -> tuple[str, Any]:
    """Key and pixels of one of our samples."""
    return sample.key, decode_small(sample.parts["jpg"], side, detail)


def resized(raw: dict[str, Any], side: int) -> tuple[str, Any]:
    """Key and pixels of one of webdataset's, decoded fully."""
    image = Image.open(io.BytesIO(raw["jpg"])).convert("RGB")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return raw["__key__"], np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def ours(tars: Sequence[Path], side: int, detail: int = 1) -> dict[str, Any]:
    """Pixels by key, shuffled, through our loader."""
    samples = ShardSet(tars)
    feed = Feed(EpochOrder(len(samples), BATCH, seed=0))
    loader = SampleLoader(samples, feed, partial(make, side=side, detail=detail), workers=WORKERS)
    return dict(pair for batch in loader for pair in batch)


def theirs(tars: Sequence[Path], side: int) -> dict[str, Any]:
    """Pixels by key, through webdataset's loader: each worker streams half of the shards."""
    dataset = wds.WebDataset([str(tar) for tar in tars], shardshuffle=False, workersplitter=wds.split_by_worker)
    batches = dataset.map(partial(resized, side=side)).batched(BATCH, collation_fn=list)
    loader = wds.WebLoader(batches, batch_size=None, num_workers=WORKERS, collate_fn=list)
    return dict(pair for batch in loader for pair in batch)


def psnr(mine: dict[str, Any], others: dict[str, Any]) -> dict[str, float]:
    """Median and least PSNR in dB over all pictures; raises AssertionError when keys or sizes differ."""
    assert mine.keys() == others.keys(), "the loaders gave other samples"
    found = []
    for key, pixels in mine.items():
        assert pixels.shape == others[key].shape, f"{key}: {pixels.shape} beside {others[key].shape}"
        error = float(np.mean((pixels.astype(np.float64) - others[key]) ** 2))
        found.append(10 * np.log10(255**2 / max(error, 1e-9)))
    return {"median": round(statistics.median(found), 1), "least": round(min(found), 1)}


def main(arguments: Sequence[str]) -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(prog="bench decode", description=__doc__)
    parser.add_argument("--samples", type=int, default=396)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--detail", type=int, default=1)
    options = parser.parse_args(arguments)
    samples = photographs(options.samples, ENCODED_SIDE)
    with quiet_folder(None) as home:
        tars = write_dataset(home, samples, -(-len(samples) // SHARDS))
        full = theirs(tars, options.side)
        apart = {f"detail {n}": psnr(ours(tars, options.side, n), full) for n in sorted({1, 2, options.detail})}

        def rate(read: Any) -> float:
            started = time.perf_counter()
            assert len(read()) == len(samples)
            return len(samples) / (time.perf_counter() - started)

        contenders = {
            OURS: lambda: rate(lambda: ours(tars, options.side, options.detail)),
            PEER: lambda: rate(lambda: theirs(tars, options.side)),
        }
        figures = alternate(contenders, options.rounds)
    env = {
        **versions("webdataset", "pillow", "torch"),
        "workers": WORKERS,
        "encoded_side": ENCODED_SIDE,
        "cache": "warm",
    }
    details = {"side": options.side, "detail": options.detail, "psnr_db": apart}
    finish(result("decode", "pictures/s", figures, higher_is_better=True, env=env, **details))
