"""Writing shards: ours hashes, flushes, renames and indexes each; webdataset's ShardWriter does none of these, or is made to flush.

procrop-data bench shards-write [--samples 4000] [--rounds 7] [--folder DIR]
"""

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import webdataset as wds

from benchmarks.harness import OURS, alternate, finish, result, versions
from benchmarks.payload import PER_SHARD, Pair, in_shards, megabytes, quiet_folder, random_samples, settled
from pipeline.shards.dataset import ShardSet
from pipeline.shards.write_shard import write_shard

PEER, FLUSHED = "webdataset.ShardWriter", "webdataset.ShardWriter + fsync"


def ours(folder: Path, samples: Sequence[Pair]) -> None:
    """sha256, fsync, rename, fsync of the folder, and the index beside the tar, flushed too."""
    for number, part in in_shards(samples):
        _, index = write_shard(folder / f"{number:06d}.tar", part)
        with (folder / f"{number:06d}.idx").open("wb") as file:
            file.write(index.encode())
            file.flush()
            os.fsync(file.fileno())


def theirs(folder: Path, samples: Sequence[Pair], *, flush: bool) -> None:
    """As its documentation shows it; ``encoder=False`` since all parts are bytes already."""
    done = _flush if flush else None
    with wds.ShardWriter(f"{folder}/%06d.tar", maxcount=PER_SHARD, verbose=0, encoder=False, post=done) as writer:
        for key, parts in samples:
            writer.write({"__key__": key, **parts})


def _flush(name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def check(folder: Path, samples: Sequence[Pair]) -> None:
    """Both hold the samples that were given, and ours the same bytes each time; raises AssertionError."""
    digests = []
    for _ in range(2):
        settled(folder)
        ours(folder, samples)
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())])
    assert digests[0] == digests[1], "two runs of our writer differ"
    assert read_back(folder) == samples, "our shards do not hold the samples"
    settled(folder)
    theirs(folder, samples, flush=False)
    assert read_back(folder) == samples, "the peer's shards do not hold the samples"


def read_back(folder: Path) -> list[Pair]:
    """All samples of the tars in a folder, by webdataset's reader and by ours, which must agree."""
    tars = sorted(folder.glob("*.tar"))
    with ShardSet(tars) as shards:
        mine = [(sample.key, sample.parts) for sample in shards]
    dataset = wds.WebDataset([str(tar) for tar in tars], shardshuffle=False)
    others = [(raw["__key__"], {name: raw[name] for name in ("jpg", "json", "npy")}) for raw in dataset]
    assert mine == others, "the two readers disagree"
    return mine


def timed(folder: Path, samples: Sequence[Pair], write: Callable[[], None]) -> float:
    """MB/s of one run into an empty folder."""
    settled(folder)
    started = time.perf_counter()
    write()
    return megabytes(samples) / (time.perf_counter() - started)


def main(arguments: Sequence[str]) -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(prog="bench shards-write", description=__doc__)
    parser.add_argument("--samples", type=int, default=4 * PER_SHARD)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to write, on the disk to be measured")
    options = parser.parse_args(arguments)
    samples = random_samples(options.samples)
    with quiet_folder(options.folder) as home:
        folder = home / "shards"
        check(folder, samples)
        contenders = {
            OURS: lambda: timed(folder, samples, lambda: ours(folder, samples)),
            PEER: lambda: timed(folder, samples, lambda: theirs(folder, samples, flush=False)),
            FLUSHED: lambda: timed(folder, samples, lambda: theirs(folder, samples, flush=True)),
        }
        figures = alternate(contenders, options.rounds)
    env = {
        **versions("webdataset"),
        "payload_mb": round(megabytes(samples), 1),
        "shards": -(-len(samples) // PER_SHARD),
    }
    finish(result("shards-write", "MB/s", figures, higher_is_better=True, env=env, equal_samples=True, same_bytes=True))
