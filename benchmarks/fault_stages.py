"""Three tiny stages for ``bench faults``: one with a journal, one that reads its images, one that regroups them as ``build`` does.

The images depend on the machine that makes them, as pixels do between processor families: two writers of one shard differ.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.json_types import JsonObject
from pipeline.core.stage import Outcome, Shard, Stage, Tables, Task
from pipeline.storage.base import checked

MACHINES = ("a", "b", "c")
PHOTOS = 6
SHARDS = 2
Step = Callable[[], None]


def image_of(key: str, machine: str) -> bytes:
    """What a machine makes of a photograph."""
    return f"{key} by {machine} ".encode() * 20


@dataclass(frozen=True)
class Painted:
    """A row of ``paint``."""

    key: str


@dataclass(frozen=True)
class _Place:
    key: str
    image_offset: int
    image_size: int
    image_sha256: str


@dataclass(frozen=True)
class Seen:
    """A row of ``read`` and ``pack``: the digest of the image that was read."""

    key: str
    digest: str


class Paint(Stage):
    """Writes an image a key. step: called before each micro-batch."""

    name, record, extensions, micro_batch = "paint", Painted, ("jpg",), 1

    def __init__(self, machine: str, step: Step) -> None:
        self._machine, self._step = machine, step

    def settings(self) -> JsonObject:
        return {}

    def tasks(self, shard: Shard) -> list[Task]:
        return [Task(f"k{n}", n) for n in range(PHOTOS) if n % shard.count == shard.number]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        self._step()
        return [Outcome.kept(Painted(task.key), {"jpg": image_of(task.key, self._machine)}) for task in tasks]


class Read(Stage):
    """Reads the images of ``paint``."""

    name, record, upstream = "read", Seen, ("paint",)

    def settings(self) -> JsonObject:
        return {}

    def tasks(self, shard: Shard) -> list[Task]:
        return [Task(row.key, row) for row in shard.rows("paint", Painted)]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        return [
            Outcome.kept(Seen(task.key, hashlib.sha256(shard.image("paint", task.key)).hexdigest())) for task in tasks
        ]


class Pack(Stage):
    """Puts the images into final shards outside of its own folder."""

    name, record, upstream, extensions = "pack", Seen, ("paint", "read"), ("jpg",)
    prologue_needed = epilogue_needed = regroups = True

    def settings(self) -> JsonObject:
        return {}

    def shards(self, work_shards: int) -> int:
        return 1

    def prologue(self, tables: Tables) -> Iterator[tuple[str, bytes]]:
        rows = [
            (tables.path("paint", part), vars(row))
            for part in tables.shards("paint")
            for row in tables.rows("paint", part, _Place)
        ]
        yield "places.json", json.dumps(rows).encode()

    def paths(self, shard: int, shared: Callable[[str], bytes]) -> tuple[str, str]:
        return f"dataset/shards/x-train-{shard:06d}.tar", f"dataset/metadata/x-train-{shard:06d}.parquet"

    def tasks(self, shard: Shard) -> list[Task]:
        return [Task(place["key"], (path, place)) for path, place in json.loads(shard.shared("places.json"))]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        return [self._one(*task.payload, shard) for task in tasks]

    @staticmethod
    def _one(path: str, place: dict[str, int | str], shard: Shard) -> Outcome:
        data = shard.read_range(path, int(place["image_offset"]), int(place["image_size"]))
        digest = str(place["image_sha256"])
        return Outcome.kept(Seen(str(place["key"]), digest), {"jpg": checked(data, digest, path)})

    def epilogue(self, tables: Tables) -> Iterator[tuple[str, bytes]]:
        keys = sorted(row.key for part in tables.shards("pack") for row in tables.rows("pack", part, Painted))
        yield "dataset/README.md", "\n".join(keys).encode()


def stages_of(machine: str, step: Step) -> list[Stage]:
    """The three, as a machine runs them."""
    return [Paint(machine, step), Read(), Pack()]
