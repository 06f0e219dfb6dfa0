"""What came of killing runs: how many kills, and whether anything differs from a run that nobody touched."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fault_run import digests, keys_of, promised

Reference = tuple[dict[str, str], Counter[tuple[str, str]]]


@dataclass
class Tally:
    """kills: by kind. seconds: of each run with its kills; length: of an undisturbed one. unended: runs that did not end well."""

    kills: dict[str, int]
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    unended: int = 0
    seconds: list[float] = field(default_factory=list)
    length: float = 0.0

    @property
    def total(self) -> int:
        """Kills that hit a living run."""
        return sum(self.kills.values())

    @property
    def clean(self) -> bool:
        """Whether every run ended as if nobody had touched it."""
        return not (self.lost or self.doubled or self.different or self.unended)

    def compare(self, source: Path, work: Path, undisturbed: Reference) -> None:
        """Count what differs from the undisturbed run: files, what receipts promise of them, and rows."""
        want, rows = undisturbed
        have, found = digests(work), keys_of(source, work)
        self.different += sum(have.get(name) != want.get(name) for name in {*have, *want})
        self.different += sum(have.get(name) != digest for name, digest in promised(source, work).items())
        self.lost += sum(found.get(key, 0) < count for key, count in rows.items())
        self.doubled += sum(count > rows.get(key, 0) for key, count in found.items())


def reference_of(source: Path, work: Path) -> Reference:
    """Digests and rows of a run, to compare others with."""
    return digests(work), keys_of(source, work)


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
