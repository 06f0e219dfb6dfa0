"""The licences of a run's photographs, as ``plan``, ``status`` and ``run`` print them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.escaping import printable
from pipeline.core.units import counted
from pipeline.storage.base import Store
from stages.publishing.licence_verdict import licence_counts, verdict_of

LICENCES = "licences.json"  # of the prologue of ``build``: rows of licence, address, photographs
SHOWN = 8  # licences in one line; the card of the dataset lists all


@dataclass(frozen=True)
class LicenceReport:
    """Photographs by licence, most first; the verdict for all of them, and one line for each problem."""

    counts: dict[str, int]
    licence: str
    verdict: str
    warnings: list[str]

    @property
    def line(self) -> str:
        """The counts in one line."""
        shown = [f"{printable(name)} {count:,}" for name, count in list(self.counts.items())[:SHOWN]]
        more = len(self.counts) - len(shown)
        return f"licences: {', '.join([*shown, *([counted(more, 'other')] if more > 0 else [])])}"


def licence_report(licences: Mapping[tuple[str, str], int]) -> LicenceReport:
    """The report on photographs by (licence, address of the licence)."""
    verdict = verdict_of(licences)
    return LicenceReport(licence_counts(licences), verdict.licence, verdict.text, verdict.warnings)


def licences_of_run(store: Store) -> LicenceReport | None:
    """The report on the photographs that have a canvas, from one small file of ``build``; None before that stage began.

    store: of the run directory.
    """
    path = f"build/shared/{LICENCES}"
    if not store.exists(path):
        return None
    rows: list[tuple[str, str, int]] = json.loads(store.read(path))
    return licence_report({(licence, address): count for licence, address, count in rows})
