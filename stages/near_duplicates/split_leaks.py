"""Which photographs must not be in the dataset because of others that are: near a test set, near a held-out one, or twice.

Only direct neighbours count: of a chain a~b~c, where a and c are not alike, b may go and both others stay.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.core.json_types import JsonObject
from pipeline.core.records import Signature
from stages.near_duplicates.signatures import Signatures
from stages.near_duplicates.similarity import Similarity, find_similar
from stages.publishing.shard_assignment import SPLITS

NEAR_TEST, SPLIT_LEAK, NEAR_DUPLICATE = "near_test", "split_leak", "near_duplicate"
REASONS = (NEAR_TEST, SPLIT_LEAK, NEAR_DUPLICATE)


@dataclass(frozen=True)
class Leak:
    """A photo that goes, why, and the picture that it is near: ``other`` is a photo's key, or empty for an excluded file."""

    photo: str
    uri: str
    split: str
    reason: str
    other: str
    other_uri: str
    bits: int
    cosine: float
    match: float

    @property
    def detail(self) -> str:
        """One line for tables and lists."""
        part = f", {self.match:.2f} as a part" if self.match else ""
        return f"{self.uri}: near {self.other_uri} ({self.bits} bits, cosine {self.cosine:.3f}{part})"


@dataclass(frozen=True)
class Leaks:
    """The photos to leave out. compared: pictures; unchecked, recall: see ``SimilarPairs``."""

    by_photo: dict[str, Leak]
    compared: int
    unchecked: int
    recall: float = 1.0

    def as_json(self) -> JsonObject:
        """Counts, and the leaks in order of their photos."""
        counts = {reason: sum(leak.reason == reason for leak in self.by_photo.values()) for reason in REASONS}
        rows = [asdict(self.by_photo[key]) for key in sorted(self.by_photo)]
        about: JsonObject = {"compared": self.compared, "unchecked": self.unchecked, "photos": counts, "leaks": rows}
        return about if self.recall == 1 else {**about, "recall": round(self.recall, 4)}


def find_leaks(photos: Signatures, outside: Signatures, *, within: bool = True) -> Leaks:
    """Photos to leave out. photos: by key; outside: pictures of excluded folders, by address; a photo near one goes.

    Of two near photos in two splits the one goes that is less held out (train before val before test). Of two in one split
    the smaller goes (ties: greater key), if ``within``.
    """
    everything = photos.joined(outside)
    result = find_similar(everything)
    near = _neighbours(result.pairs)
    by_photo: dict[str, Leak] = {}

    def drop(index: int, candidates: Sequence[int], reason: str) -> bool:
        if not candidates:
            return False
        other = min(candidates, key=lambda n: (near[index][n].bits, -near[index][n].cosine, n))
        by_photo[photos.key(index)] = _leak(everything.row(index), everything.row(other), reason, near[index][other])
        return True

    count, splits = len(photos), photos.splits
    within_run = sorted(n for n in near if n < count)  # the others have no near picture
    left = [n for n in within_run if not drop(n, [m for m in near[n] if m >= count], NEAR_TEST)]
    standing: set[int] = set()
    for split in sorted({splits[n] for n in left}, key=_held_out, reverse=True):
        own = [n for n in left if splits[n] == split]
        standing |= {n for n in own if not drop(n, [m for m in near[n] if m in standing], SPLIT_LEAK)}
    kept: set[int] = set()
    for n in sorted(standing if within else (), key=lambda n: (-photos.pixels[n], n)):
        twins = [m for m in near[n] if m in kept and splits[m] == splits[n]]
        if not drop(n, twins, NEAR_DUPLICATE):
            kept.add(n)
    return Leaks(by_photo, len(everything), result.unchecked, result.recall)


def _neighbours(pairs: dict[tuple[int, int], Similarity]) -> dict[int, dict[int, Similarity]]:
    near: dict[int, dict[int, Similarity]] = {}
    for (i, j), similarity in pairs.items():
        near.setdefault(i, {})[j] = similarity
        near.setdefault(j, {})[i] = similarity
    return near


def _held_out(split: str) -> tuple[int, str]:
    """Splits that a recipe calls otherwise count as less held out than all known ones."""
    return (SPLITS.index(split) if split in SPLITS else -1, split)


def _leak(photo: Signature, other: Signature, reason: str, similarity: Similarity) -> Leak:
    return Leak(
        photo=photo.key,
        uri=photo.uri,
        split=photo.split,
        reason=reason,
        other=other.key,
        other_uri=other.uri,
        bits=similarity.bits,
        cosine=similarity.cosine,
        match=similarity.match,
    )
