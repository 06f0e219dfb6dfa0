"""Reading whole samples, every byte of every part, in one process: our indexed reader beside webdataset's stream; warm cache.

procrop-data bench shards-read [--samples 3000] [--rounds 7] [--folder DIR]
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import webdataset as wds

from benchmarks.harness import OURS, alternate, finish, result, versions
from benchmarks.payload import Pair, megabytes, quiet_folder, random_samples, write_dataset
from pipeline.shards.dataset import ShardSet
from pipeline.shards.epoch_order import EpochOrder

PEER, SHUFFLED = "webdataset.WebDataset", "ours, shuffled"


def in_order(tars: Sequence[Path]) -> Iterable[Any]:
    """Ours, indexes loaded anew, in the tars' order."""
    with ShardSet(tars) as shards:
        yield from shards


def shuffled(tars: Sequence[Path]) -> Iterable[Any]:
    """Ours in the order of a training epoch, which is a true permutation of all samples."""
    with ShardSet(tars) as shards:
        for batch in EpochOrder(len(shards), 32, seed=0).batches(epoch=0):
            yield from (shards[position] for position in batch)


def streamed(tars: Sequence[Path]) -> Iterable[Any]:
    """The peer: raw bytes, nothing decoded."""
    return wds.WebDataset([str(tar) for tar in tars], shardshuffle=False)


def timed(count: int, samples: Callable[[], Iterable[Any]]) -> float:
    """Samples a second over all of them."""
    started = time.perf_counter()
    found = sum(1 for _ in samples())
    seconds = time.perf_counter() - started
    assert found == count, f"{found} of {count} samples came"
    return count / seconds


def growth(tars: Sequence[Path]) -> float:
    """How much the process grows at most, in MB, while it reads all samples in shuffled order and keeps none."""
    process = psutil.Process()
    before = most = process.memory_info().rss
    for number, _ in enumerate(shuffled(tars)):
        if number % 20 == 0:
            most = max(most, process.memory_info().rss)
    return (most - before) / 1e6


def check(tars: Sequence[Path], samples: Sequence[Pair]) -> None:
    """All three give the samples that were written; raises AssertionError."""
    raw = [(s["__key__"], {name: s[name] for name in ("jpg", "json", "npy")}) for s in streamed(tars)]
    assert raw == samples, "webdataset gives other samples"
    assert [tuple(sample) for sample in in_order(tars)] == samples, "our reader gives other samples"
    assert sorted(tuple(sample) for sample in shuffled(tars)) == samples, "our shuffled reader gives other samples"


def main(arguments: Sequence[str]) -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(prog="bench shards-read", description=__doc__)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the shards are put")
    options = parser.parse_args(arguments)
    samples = [(key, dict(sorted(parts.items()))) for key, parts in random_samples(options.samples)]
    with quiet_folder(options.folder) as home:
        tars = write_dataset(home, samples)
        check(tars, samples)
        grown = growth(tars)
        contenders = {
            OURS: lambda: timed(len(samples), lambda: in_order(tars)),
            PEER: lambda: timed(len(samples), lambda: streamed(tars)),
            SHUFFLED: lambda: timed(len(samples), lambda: shuffled(tars)),
        }
        figures = alternate(contenders, options.rounds)
    own = sorted(figures.pop(SHUFFLED))
    env = {**versions("webdataset"), "payload_mb": round(megabytes(samples), 1), "shards": len(tars), "cache": "warm"}
    report = result("shards-read", "samples/s", figures, higher_is_better=True, env=env, equal_samples=True)
    finish({**report, "ours_shuffled": round(own[len(own) // 2], 1), "ours_grows_mb": round(grown, 1)})
