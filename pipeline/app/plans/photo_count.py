"""How many photographs a run has, and how many of them are held out, from the listing alone: no file is read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.runs.run_directory import Run
    from stages.recipe import Recipe


@dataclass(frozen=True)
class PhotoCount:
    """The photographs of a run.

    Args:
        total: how many.
        held_out: about how many are not of the train split.
        splits: that will have a photograph, as far as the listing says.
        wanted: splits that the recipe or the credits want.
        licences: photographs by (licence, address of the licence); empty where they are not listed.
    """

    total: int
    held_out: int
    splits: list[str]
    wanted: list[str]
    licences: Mapping[tuple[str, str], int] = field(default_factory=dict)


def listed_photos(recipe: "Recipe") -> PhotoCount:
    """The photographs that the recipe's source lists. Raises UsageError when it does not exist."""
    from stages.photos.source_readers import list_inputs

    splits: Counter[str] = Counter()
    licences: Counter[tuple[str, str]] = Counter()
    for item in islice(list_inputs(recipe.ingest.source, recipe.ingest.lists), recipe.ingest.limit or None):
        splits[item.credits.get("split", "")] += 1
        licences[item.credits.get("licence", ""), item.credits.get("licence_url", "")] += 1
    return replace(_with_hashed(recipe, splits), licences=licences)


def known_photos(recipe: "Recipe", run: "Run") -> PhotoCount | None:
    """The photographs that the run listed last, or None before it listed any."""
    from pipeline.runs.run_directory import SOURCES
    from pipeline.shards import parquet

    if not run.store.exists(f"{SOURCES}.parquet"):
        return None
    table = parquet.decode_table(run.store.read(f"{SOURCES}.parquet"), ["split"])
    return count_photos(recipe, table["split"].to_pylist())


def given_photos(recipe: "Recipe", total: int) -> PhotoCount:
    """A number of photographs without credits."""
    return _with_hashed(recipe, Counter({"": total}))


def count_photos(recipe: "Recipe", splits: Iterable[str]) -> PhotoCount:
    """splits: of each photograph by its credits; empty where the recipe's shares decide."""
    return _with_hashed(recipe, Counter(splits))


def _with_hashed(recipe: "Recipe", named: Counter[str]) -> PhotoCount:
    shares = {str(name): share for name, share in recipe.ingest.splits.items() if share > 0}
    total, hashed = sum(named.values()), named[""]
    filled = [name for name in ("train", "val", "test") if named[name]]
    wanted = [name for name in ("train", "val", "test") if named[name] or (hashed and name in shares)]
    # Each split with a share gets a photograph if there are enough: stages/photos/split_assignment.py.
    filled += [name for name in ("train", "test", "val") if name in wanted and name not in filled][:hashed]
    by_hash = hashed * (1 - shares.get("train", 0.0) / sum(shares.values())) if shares else 0.0
    least = sum(name != "train" and not named[name] for name in filled)
    held_out = named["val"] + named["test"] + max(round(by_hash), least)
    return PhotoCount(total, min(held_out, total), filled, wanted)
