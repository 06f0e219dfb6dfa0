"""Assigning kept canvases to final shards: splits by photo, order shuffled by hash."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.json_types import Json
from pipeline.core.seeds import seed_for, shard_of

SPLITS = ("train", "val", "test")
LeftOut = dict[str, tuple[str, str]]  # key of a photo whose canvases are left out -> (reason, detail)


def shards_by_split(counts: Mapping[str, int], shards: int, *, exact: bool = True) -> dict[str, int]:
    """Shards of each split: in proportion to its samples, at least one and never more than it has samples.

    exact: ``shards`` in all; else at most so many.

    Raises UsageError when the number cannot be met, with the number that can.
    """
    present = {name: count for name, count in counts.items() if count > 0}
    total = sum(present.values())
    if not total:
        raise UsageError("no canvas passed the filter, so there is nothing to shard: see 'procrop-data status' for why")
    if exact and shards > total:
        raise UsageError(
            f"exactly {shards} shards: {total} samples in {len(present)} splits fill {len(present)} to {total} shards; ask for a "
            "number between, for build.shards (at most so many), or make more canvases (outpaint.variants, more photos)"
        )
    if shards < len(present):
        raise UsageError(
            f"{shards} shards: {total} samples in {len(present)} splits ({', '.join(sorted(present))}) fill {len(present)} to "
            f"{total} shards, because no shard holds two splits; ask for {len(present)} or more"
        )
    shards = min(shards, total)
    given = {name: 1 for name in present}
    while sum(given.values()) < shards:
        # The split whose shards are fullest gets the next one; a tie goes to the first by name.
        name = max(sorted(present), key=lambda n: present[n] / given[n])
        given[name] += 1
    return given


@dataclass(frozen=True)
class ShardAssignment:
    """stems: of the final shards, ``<name>-<split>-000000``. places: for each part of the input, int32 [rows, 2]: the final
    shard of each row, and its place in it.
    """

    stems: list[str]
    places: list[NDArray[np.int32]]


def assign_shards(
    parts: Iterable[tuple[Sequence[str], Sequence[str]]], shards: int, run_seed: int, name: str, *, exact: bool = True
) -> ShardAssignment:
    """Where each kept canvas goes, in an order fixed by hashes alone.

    Raises UsageError as ``shards_by_split`` does.

    Args:
        parts: keys and splits of the rows of each work shard, consumed one by one.
        shards: exactly so many in all, or at most.
        run_seed: seed of the run.
        name: of the dataset.
        exact: as of ``shards_by_split``.
    """
    names: dict[str, int] = {}
    drawn, codes, lengths = [], [], []
    for keys, splits in parts:
        drawn.append(np.array([seed_for(run_seed, "shuffle", key) for key in keys], np.int64))
        codes.append(np.array([names.setdefault(split, len(names)) for split in splits], np.int32))
        lengths.append(len(keys))
    if unknown := set(names) - set(SPLITS):
        raise UsageError(
            f"split {min(unknown)!r}: allowed are {', '.join(SPLITS)}; correct credits.csv and run 'procrop-data ingest' again"
        )
    split_of = np.concatenate([np.zeros(0, np.int32), *codes])
    order = np.argsort(np.concatenate([np.zeros(0, np.int64), *drawn]), kind="stable")
    del drawn, codes  # of ten million canvases a hundred megabytes each
    given = shards_by_split(
        {split: int((split_of == code).sum()) for split, code in names.items()}, shards, exact=exact
    )
    stems: list[str] = []
    places = np.zeros((len(order), 2), np.int32)
    for split in sorted(given, key=_split_order):
        rows = order[split_of[order] == names[split]]
        edges = [len(rows) * part // given[split] for part in range(given[split] + 1)]
        for part, (start, end) in enumerate(itertools.pairwise(edges)):
            places[rows[start:end], 0] = len(stems)
            places[rows[start:end], 1] = np.arange(end - start)
            stems.append(f"{name}-{split}-{part:06d}")
    return ShardAssignment(stems, np.split(places, np.cumsum(lengths)[:-1]))


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def spread_over_shards(canvases: Iterable[tuple[str, str]], shards: int) -> dict[int, list[tuple[str, str]]]:
    """Dropped canvases, (key, photo), by the final shard that records them, so that the counts of ``build`` add up: a photo's go to
    the shard that its hash says.
    """
    found: dict[int, list[tuple[str, str]]] = {}
    for key, photo in canvases:
        found.setdefault(shard_of(photo, shards), []).append((key, photo))
    return found


class RowsByShard:
    """Rows set aside on disk by final shard and read back one shard at a time, so that regrouping takes constant memory.

    Each shard has a file of JSON lines in ``folder``, which the caller removes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, rows: Iterable[tuple[int, int, Json]]) -> None:
        """Set rows aside: (final shard, place in it, JSON value)."""
        lines: dict[int, list[str]] = {}
        for shard, place, value in rows:
            lines.setdefault(shard, []).append(json.dumps([place, value], ensure_ascii=False) + "\n")
        for shard, added in lines.items():
            with open(self._folder / f"{shard}.jsonl", "a", encoding="utf-8") as file:
                file.writelines(added)

    def take(self, shard: int) -> list[Any]:
        """The values of a final shard in order of their places; its file is removed."""
        path = self._folder / f"{shard}.jsonl"
        with open(path, encoding="utf-8") as file:
            placed = [json.loads(line) for line in file]
        path.unlink()
        return [value for _, value in sorted(placed, key=lambda pair: int(pair[0]))]
