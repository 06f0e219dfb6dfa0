"""The seven kinds of disturbance of ``bench faults``. Each disturbs a new run directory once."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.fault_actors import DIE, SLEEP, TIMING, Actor, give_locks_up
from benchmarks.fault_stores import HDFS, LOCAL, S3, Place
from pipeline.storage.base import Store

KILL, TAKEOVER, LOST, STALE, TORN, FULL, CLOCK = (
    "kill",
    "takeover",
    "lost answer",
    "stale listing",
    "torn file",
    "full disk",
    "clock jump",
)
OPERATIONS = {True: 330, False: 300}  # of a whole run, about
Disturbance = Callable[[Place, str, random.Random], list[Actor]]


def _moment(place: Place, dice: random.Random) -> int:
    return dice.randrange(1, OPERATIONS[place.kind in (S3, HDFS)])


def kill(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """A writer dies, the next one dies, too."""
    dead = [
        Actor(place.store(name), machine, at=_moment(place, dice), act=DIE).start()
        for machine in "ab"[: dice.choice((1, 2))]
        for _ in [give_locks_up(place.store(name))]
    ]
    give_locks_up(place.store(name))
    return dead


def takeover(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """A sleeps, B takes over and ends, dies or sleeps; A wakes; B wakes."""
    first = Actor(place.store(name), "a", at=_moment(place, dice), act=SLEEP).start()
    give_locks_up(place.store(name))
    at = dice.choice((0, _moment(place, dice)))
    second = Actor(place.store(name), "b", at=at, act=dice.choice((DIE, SLEEP, SLEEP))).start()
    if dice.random() < 0.5:
        give_locks_up(place.store(name))
    first.finish()
    second.finish()
    give_locks_up(place.store(name))
    return [first, second]


def lost_answer(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """Answers of the store are lost: what was asked for was done."""
    place.lose(dice.randrange(4, 12))
    actors = [Actor(place.store(name), "a").start()]
    place.lose(0)
    return actors


def stale_listing(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """A writer dies; the next sees listings as they were when it began."""
    first = Actor(place.store(name), "a", at=_moment(place, dice), act=DIE).start()
    give_locks_up(place.store(name))
    second = Actor(place.store(name), "b", stale=True).start()
    give_locks_up(place.store(name))
    return [first, second]


def torn_file(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """A writer dies; a file that there is then is cut short, or one of its bits flips."""
    actors = kill(place, name, dice)
    damage(place.store(name), dice)
    return actors


def damage(store: Store, dice: random.Random) -> str:
    """Cut or flip one file of a run directory, or of the journals beside it; not the plan, which nobody can make again."""
    scratch = store.scratch_folder()
    journals = [path for path in scratch.rglob("journal/*") if path.is_file()] if scratch.is_dir() else []
    files: list[str | Path] = [path for path in all_files(store) if path != "plan.json" and "/journal/" not in path]
    files += journals
    if not files:
        return ""
    path = dice.choice(sorted(files, key=str))
    data = bytearray(path.read_bytes() if isinstance(path, Path) else store.read(path))
    if data and dice.random() < 0.5:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    else:
        del data[dice.randrange(len(data) + 1) :]
    if isinstance(path, Path):
        path.write_bytes(data)
    else:
        store.write(path, bytes(data))
    return str(path)


def full_disk(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """From some moment on nothing can be written; later it can."""
    at = _moment(place, dice)
    first = Actor(place.store(name), "a", pace=lambda count: place.refuse(count == at) if count == at else None).start()
    place.refuse(False)
    give_locks_up(place.store(name))
    return [first]


def clock_jump(place: Place, name: str, dice: random.Random) -> list[Actor]:
    """The clock of a living owner jumps by a day; another machine wants its shards."""
    jump, at = [0.0], _moment(place, dice)

    def pace(count: int) -> None:
        jump[0] = dice.choice((-86400.0, 86400.0)) if count == at else jump[0]
        time.sleep(0.0005)

    beat = 0.02 if place.kind not in (S3, HDFS) else 0.1
    timing = replace(TIMING, heartbeat=beat, watch=20 * beat, timeout=0.05, now=lambda: time.time() + jump[0])
    first = Actor(place.store(name), "a", timing=timing, pace=pace).begin()
    second = Actor(place.store(name), "b", timing=replace(timing, now=time.time), foreign=True).begin()
    return [first.finish(), second.finish()]


KINDS: dict[str, Disturbance] = {
    KILL: kill, TAKEOVER: takeover, LOST: lost_answer, STALE: stale_listing, TORN: torn_file, FULL: full_disk, CLOCK: clock_jump,
}  # fmt: skip


def happens(kind: str, store: str) -> bool:
    """Whether a kind can happen to a store: a disk loses no answers, and its listings are never old."""
    return store != LOCAL or kind not in (LOST, STALE)


def all_files(store: Store, folder: str = "") -> list[str]:
    """Paths of all files of a run directory."""
    found = []
    for name in store.names(folder):
        path = f"{folder}/{name}" if folder else name
        found += [path] if "." in name.lstrip(".") else all_files(store, path)
    return found
