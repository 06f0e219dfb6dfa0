"""The leak report of ``build``: near-duplicates among the signatures of the run and the excluded folders, and rejected rows."""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.release_memory import give_back
from pipeline.core.stage import Tables
from stages.backends.base.protocols import Encoder
from stages.near_duplicates.excluded_sets import excluded_signatures
from stages.near_duplicates.signatures import Signatures
from stages.near_duplicates.split_leaks import Leak, Leaks, find_leaks

LEAKS = "leaks.json"


class LeakSettings(Protocol):
    """The settings that ``build_leak_report`` reads."""

    @property
    def exclude_near(self) -> tuple[str, ...]: ...
    @property
    def near_duplicates(self) -> bool: ...


@dataclass(frozen=True)
class LeakFindings:
    """The photos that must go, and the test sets that they were compared with.

    folders: excluded ones; excluded: number of their pictures; unreadable: addresses of pictures that cannot be compared.
    """

    leaks: Leaks
    folders: tuple[str, ...]
    excluded: int
    unreadable: list[str]

    @property
    def by_photo(self) -> Mapping[str, Leak]:
        """Leaks by the photo that is left out."""
        return self.leaks.by_photo

    def encode(self) -> bytes:
        """The report, as JSON: ``build/shared/leaks.json``."""
        body = {
            "excluded_folders": list(self.folders), "excluded_pictures": self.excluded, "unreadable": self.unreadable,
            **self.leaks.as_json(),
        }  # fmt: skip
        return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


def build_leak_report(
    tables: Tables, settings: LeakSettings, encoder: Encoder, refused: Container[str] = ()
) -> LeakFindings:
    """Find near-duplicates among the photographs that still have a canvas. refused: keys of photographs that go anyhow.

    Raises UsageError for an excluded folder that is not there.
    """
    outside, unreadable = excluded_signatures(settings.exclude_near, encoder)
    theirs = Signatures.of(sorted(outside, key=lambda s: s.uri))

    def wanted(shard: int) -> set[str]:
        photos = tables.columns("filter", shard, ["photo"])["photo"].to_pylist()
        return {photo for photo in photos if photo not in refused}

    leaks = find_leaks(Signatures.of_run(tables, "dedup", wanted), theirs, within=settings.near_duplicates)
    give_back()  # the signatures of all photographs, and what the search took
    return LeakFindings(leaks, settings.exclude_near, len(outside), unreadable)
