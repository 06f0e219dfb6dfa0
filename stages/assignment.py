"""Which kept canvas goes to which final shard: splits by photo, order shuffled by hash, exactly the number asked."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError
from pipeline.seeds import seed_for

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


def assign(rows: Sequence[Mapping[str, Any]], shards: int, run_seed: int, name: str) -> list[tuple[str, list[Any]]]:
    """For each final shard its stem (``<name>-<split>-000000``) and its rows, in an order fixed by hashes alone.

    rows: kept canvases with ``key`` and ``split``. Raises UsageError as ``allot`` does.
    """
    by_split: dict[str, list[Any]] = {}
    for row in sorted(rows, key=lambda row: (seed_for(run_seed, "shuffle", row["key"]), row["key"])):
        by_split.setdefault(row["split"], []).append(row)
    given = allot({split: len(found) for split, found in by_split.items()}, shards)
    out = []
    for split in sorted(given, key=_split_order):
        found, parts = by_split[split], given[split]
        edges = [len(found) * part // parts for part in range(parts + 1)]
        out += [(f"{name}-{split}-{part:06d}", found[edges[part] : edges[part + 1]]) for part in range(parts)]
    return out


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)
