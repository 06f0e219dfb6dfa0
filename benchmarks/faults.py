"""Disturb runs in seven ways on four kinds of store: nothing is lost, nothing doubled, nothing wrong is certified.

    procrop-data bench faults [--disturbances 500] [--kills 20] [--seed 0]

The disturbances happen within this process, to runs of three tiny stages; two writers of one shard make different bytes. After
each, the run is brought to its end, and repaired if a file was damaged. ``--kills`` then kills whole processes of a larger run.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fault_check import Verdict, bring_to_the_end
from benchmarks.fault_kills import rehearse
from benchmarks.fault_kinds import KINDS, happens
from benchmarks.fault_stores import HDFS, LOCAL, NFS, S3, STORES, Place, place_of
from benchmarks.harness import finish, result
from benchmarks.kill_tally import say

SHARES = {LOCAL: 10, NFS: 10, S3: 1, HDFS: 3}  # a request takes longer than a system call


@dataclass
class FaultTally:
    """What came of the disturbances, by (kind, store). seconds: of each."""

    count: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    doubled: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    repaired: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, cell: tuple[str, str], verdict: Verdict) -> None:
        """Count one disturbance."""
        self.count[cell] += 1
        self.lost[cell] += verdict.lost
        self.doubled[cell] += verdict.doubled
        self.wrong[cell] += verdict.wrong
        self.repaired += verdict.repaired
        self.broken += [f"{cell}: {word}" for word in verdict.broken]

    @property
    def clean(self) -> bool:
        """Whether every run ended as an undisturbed one."""
        bad = (self.lost.total(), self.doubled.total(), self.wrong.total(), len(self.broken))
        return bad == (0, 0, 0, 0)

    def table(self) -> str:
        """Disturbances by kind and store, with lost/doubled/wrong where there are any."""
        lines = [f"{'':<14}" + "".join(f"{store:>8}" for store in STORES)]
        for kind in KINDS:
            cells = [(kind, store) for store in STORES]
            lines.append(f"{kind:<14}" + "".join(f"{self._cell(cell):>8}" for cell in cells))
        return "\n".join(lines)

    def _cell(self, cell: tuple[str, str]) -> str:
        if not happens(*cell):
            return "-"
        bad = (self.lost[cell], self.doubled[cell], self.wrong[cell])
        return f"{self.count[cell]}" + ("" if not any(bad) else "!" + "/".join(map(str, bad)))


def disturb(disturbances: int, seed: int, stores: Sequence[str] = STORES) -> FaultTally:
    """So many disturbances, spread over kinds and stores; the same for the same seed, but for the threads' moments."""
    tally, cells = FaultTally(), _cells(disturbances, stores)
    for kind in stores:
        with place_of(kind) as place:
            mine = [cell for cell in cells if cell[1] == kind]
            for number, cell in enumerate(mine):
                _one(place, number, cell, random.Random(f"{seed} {number} {cell}"), tally)
            say(f"{kind}: {len(mine)} disturbances")
    return tally


def _cells(disturbances: int, stores: Sequence[str]) -> list[tuple[str, str]]:
    """Kind and store of each disturbance."""
    turns = [(kind, store) for store in stores for kind in KINDS if happens(kind, store) for _ in range(SHARES[store])]
    return [turns[number * len(turns) // disturbances % len(turns)] for number in range(disturbances)]


def _one(place: Place, number: int, cell: tuple[str, str], dice: random.Random, tally: FaultTally) -> None:
    began, name = time.perf_counter(), f"run-{number:04d}"
    actors = KINDS[cell[0]](place, name, dice)
    tally.add(cell, bring_to_the_end(place, name, actors))
    tally.seconds.append(time.perf_counter() - began)


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="bench faults", description=__doc__)
    parser.add_argument("--disturbances", type=int, default=500, help="within this process")
    parser.add_argument("--kills", type=int, default=20, help="of whole processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="stop the kills after so many")
    options = parser.parse_args(arguments)
    tally = disturb(options.disturbances, options.seed)
    print(tally.table())
    for line in tally.broken:
        print(line)
    with tempfile.TemporaryDirectory(prefix="procrop-faults-") as home:
        kills = rehearse(Path(home), options.kills, options.seed, options.minutes)
    finish(
        result(
            "faults", "seconds a disturbance", {"ours": tally.seconds or [0.0]}, higher_is_better=False,
            env={"stores": ", ".join(STORES)}, disturbances=tally.count.total(), lost=tally.lost.total(),
            doubled=tally.doubled.total(), certified_wrong=tally.wrong.total(), broken=len(tally.broken),
            repaired=tally.repaired, process_kills=kills.total, kills_by_kind=kills.kills, kills_clean=kills.clean,
            digests_equal=tally.clean and kills.clean,
        )
    )  # fmt: skip
    if not (tally.clean and kills.clean):
        sys.exit(1)
