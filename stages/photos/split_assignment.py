"""The split of a photograph: by hash of its key, and in small sets so that no split stays without a photograph."""

from collections.abc import Iterable, Mapping

from pipeline.core.records import Source
from pipeline.core.seeds import fraction_of
from stages.photos.credits import SPLITS


def split_of(key: str, shares: Mapping[str, float], run_seed: int) -> str:
    """The split of a photo by hash: adding photos never moves one from a split to another.

    Shares are laid out in one order whatever theirs is: plan.json sorts its keys, and a rerun must not move a photo.
    """
    names = sorted(shares, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))
    point = fraction_of(run_seed, "split", key) * sum(shares[name] for name in names)
    for name in names:
        point -= shares[name]
        if point < 0:
            return name
    return names[0]


def splits_for_empty(
    photos: Iterable[Source], shares: Mapping[str, float], run_seed: int, before: Mapping[str, str]
) -> dict[str, str]:
    """Splits by key of the photographs that are moved so that each split with a share has one.

    A photograph is moved only where its hash chose its split, and only from a split that keeps another one. With fewer
    photographs than splits, train comes first, then test.

    Args:
        photos: that can be used, no copies.
        shares: share of each split.
        run_seed: seed of the run.
        before: what this function gave for this run earlier; it stays, so that adding photos moves none back.
    """
    empty = {name for name, share in shares.items() if share > 0}
    names_by_key: dict[str, str] = {}
    fixed: set[str] = set()
    for photo in photos:  # of a million photographs, the first hundred fill each split
        names_by_key[photo.key] = photo.split or before.get(photo.key) or split_of(photo.key, shares, run_seed)
        fixed |= {photo.key} if photo.split or photo.key in before else set()
        empty.discard(names_by_key[photo.key])
        if not empty and before.keys() <= names_by_key.keys():
            break
    moved = {key: name for key, name in before.items() if key in names_by_key and names_by_key[key] == name}
    for name in sorted(empty, key=("train", "test", "val").index):
        free = [key for key in names_by_key if key not in fixed and _others(names_by_key, key)]
        if free:
            key = min(free, key=lambda one: fraction_of(run_seed, f"split {name}", one))
            moved[key] = names_by_key[key] = name
            fixed.add(key)
    return moved


def _others(names_by_key: Mapping[str, str], key: str) -> bool:
    """Whether the split of a photograph has another photograph."""
    return sum(name == names_by_key[key] for name in names_by_key.values()) > 1
