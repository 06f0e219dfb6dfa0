"""Which kept canvas goes to which final shard: splits by photo, order shuffled by hash, exactly the number asked."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.seeds import seed_for

SPLITS = ("train", "val", "test")


def allot(counts: Mapping[str, int], shards: int) -> dict[str, int]:
    """Shards of each split: in proportion to its samples, at least one and never more than it has samples.

    Raises UsageError when the number cannot be met, with the number that can.
    """
    present = {name: count for name, count in counts.items() if count > 0}
    total = sum(present.values())
    if not total:
        raise UsageError("no canvas passed the filter, so there is nothing to shard: see 'procrop-data status' for why")
    if not len(present) <= shards <= total:
        raise UsageError(
            f"--shards {shards}: {total} samples in {len(present)} splits fill {len(present)} to {total} shards; "
            "ask for a number between, or make more canvases (outpaint.variants, more photos)"
        )
    given = {name: 1 for name in present}
    while sum(given.values()) < shards:
        # The split whose shards are fullest gets the next one; a tie goes to the first by name.
        name = max(sorted(present), key=lambda n: present[n] / given[n])
        given[name] += 1
    return given


@dataclass(frozen=True)
class Assignment:
    """stems: of the final shards, ``<name>-<split>-000000``. places: for each part of the input, int32 [rows, 2]: the final
    shard of each row, and its place in it.
    """

    stems: list[str]
    places: list[NDArray[np.int32]]


def assign(parts: Iterable[tuple[Sequence[str], Sequence[str]]], shards: int, run_seed: int, name: str) -> Assignment:
    """Where each kept canvas goes, in an order fixed by hashes alone.

    parts: keys and splits of the rows of each work shard, consumed one by one. Raises UsageError as ``allot`` does.
    """
    names: dict[str, int] = {}
    drawn, codes, lengths = [], [], []
    for keys, splits in parts:
        drawn.append(np.array([seed_for(run_seed, "shuffle", key) for key in keys], np.int64))
        codes.append(np.array([names.setdefault(split, len(names)) for split in splits], np.int32))
        lengths.append(len(keys))
    split_of = np.concatenate([np.zeros(0, np.int32), *codes])
    order = np.argsort(np.concatenate([np.zeros(0, np.int64), *drawn]), kind="stable")
    del drawn, codes  # of ten million canvases a hundred megabytes each
    given = allot({split: int((split_of == code).sum()) for split, code in names.items()}, shards)
    stems: list[str] = []
    places = np.zeros((len(order), 2), np.int32)
    for split in sorted(given, key=_split_order):
        rows = order[split_of[order] == names[split]]
        edges = [len(rows) * part // given[split] for part in range(given[split] + 1)]
        for part, (start, end) in enumerate(itertools.pairwise(edges)):
            places[rows[start:end], 0] = len(stems)
            places[rows[start:end], 1] = np.arange(end - start)
            stems.append(f"{name}-{split}-{part:06d}")
    return Assignment(stems, np.split(places, np.cumsum(lengths)[:-1]))


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)
