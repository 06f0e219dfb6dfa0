"""The guard of ``build``: from recorded signatures and excluded folders to rejected rows and the report of leaks."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.records import Signature
from pipeline.seeds import shard_of
from pipeline.stage import Outcome
from stages.backends.protocols import Encoder
from stages.excluded import excluded_signatures
from stages.leaks import Leak, Leaks, find_leaks

LEAKS = "leaks.json"
_FIELDS = tuple(Signature.__dataclass_fields__)


class Guarding(Protocol):
    """The settings that the guard reads."""

    @property
    def exclude_near(self) -> tuple[str, ...]: ...
    @property
    def near_duplicates(self) -> bool: ...


@dataclass(frozen=True)
class Guard:
    """What the guard found. excluded: pictures compared, by folder; unreadable: those of them that guard nothing."""

    leaks: Leaks
    folders: tuple[str, ...]
    excluded: int
    unreadable: list[str]

    @property
    def found(self) -> Mapping[str, Leak]:
        """Leaks by the photo that goes."""
        return self.leaks.found

    def rejects(self, canvases: Sequence[Mapping[str, Any]], number: int, shards: int) -> list[Outcome]:
        """Rows of the dropped canvases that final shard ``number`` records, so that the counts of ``build`` add up.

        canvases: with ``key`` and ``photo``, all of dropped photos. A photo's go to the shard that its hash says.
        """
        mine = [row for row in canvases if shard_of(row["photo"], shards) == number]
        return [
            Outcome.rejected(row["key"], self.found[row["photo"]].reason, self.found[row["photo"]].detail)
            for row in sorted(mine, key=lambda row: str(row["key"]))
        ]

    def encode(self) -> bytes:
        """The report, as JSON: ``build/shared/leaks.json``."""
        body = {
            "excluded_folders": list(self.folders), "excluded_pictures": self.excluded, "unreadable": self.unreadable,
            **self.leaks.as_json(),
        }  # fmt: skip
        return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


def guard(rows: Sequence[Mapping[str, Any]], photos: Collection[str], settings: Guarding, encoder: Encoder) -> Guard:
    """Look among ``photos`` (those that still have a canvas) for near ones. rows: the table of ``dedup``.

    Raises UsageError for an excluded folder that is not there.
    """
    outside, unreadable = excluded_signatures(settings.exclude_near, encoder)
    own = [Signature(**{name: row[name] for name in _FIELDS}) for row in rows if row["key"] in photos]
    leaks = find_leaks(own, outside, within=settings.near_duplicates)
    return Guard(leaks, settings.exclude_near, len(outside), unreadable)
