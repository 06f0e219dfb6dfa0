"""Under which licence a dataset may be shared, by the licences of its photographs (the table is in docs/licences.md).

A canvas is a work made of one photograph, and a dataset is a collection of canvases: each canvas keeps the conditions of its
photograph. The verdict says what holds for the whole. It is a help for people, and no advice of a lawyer.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.publishing.licences import LICENCE_REASONS, NO_DERIVATIVES, NON_COMMERCIAL, UNKNOWN, Terms, terms_of

LicencePolicy = Literal["strict", "warn", "list"]
Licences = Mapping[tuple[str, str], int]  # (licence, address) -> photographs
NOT_STATED = "not stated"
_RESTRICTED_MODEL = re.compile(r"non-?commercial|no commercial|research only", re.IGNORECASE)
_PROBLEMS = {
    NO_DERIVATIVES: "forbid works made of them, which a canvas is",
    NON_COMMERCIAL: "allow no commercial use",
    UNKNOWN: "have an unknown licence or none",
}
_LATER_FROM = (2, 0)  # of the share-alike licences of Creative Commons; from here on works may carry a later version


@dataclass(frozen=True)
class LicenceVerdict:
    """What holds for the whole dataset.

    Args:
        licence: its name on the hub; ``other`` where no single licence covers all, ``unknown`` where one is not known.
        text: the verdict in one sentence.
        problems: photographs by the reason (``LICENCE_REASONS``) for which a strict dataset would leave them out.
    """

    licence: str
    text: str
    problems: dict[str, int]

    @property
    def warnings(self) -> list[str]:
        """One line for each problem."""
        return [f"{count:,} photographs {_PROBLEMS[reason]}" for reason, count in self.problems.items()]


def verdict_of(licences: Licences) -> LicenceVerdict:
    """The verdict for photographs with these licences. The first rule that applies counts."""
    counts: Counter[Terms] = Counter()
    for (licence, address), count in licences.items():
        counts[terms_of(licence, address)] += count
    problems = {reason: sum(n for terms, n in counts.items() if terms.problem == reason) for reason in LICENCE_REASONS}
    return LicenceVerdict(*_rule(list(counts)), {reason: count for reason, count in problems.items() if count})


def _rule(terms: Sequence[Terms]) -> tuple[str, str]:
    """(licence of the whole, sentence)."""
    if any(one.no_derivatives for one in terms):
        return "other", "Not to be shared as it is: some photographs forbid works made of them."
    if any(not one.name for one in terms):
        return "unknown", "Not known: some photographs have an unknown licence or none."
    alike = [one for one in terms if one.share_alike]
    commercial = not any(one.non_commercial for one in terms)
    families = {one.family for one in alike}
    if len(families) > 1 or (alike and not commercial and not all(one.non_commercial for one in alike)):
        return (
            "other",
            "No single licence: share-alike licences that do not mix. Each canvas keeps that of its photograph.",
        )
    if alike:
        return _of_share_alike(alike)
    if not commercial:
        return _latest([one for one in terms if one.non_commercial]), "Non-commercial use only, with attribution."
    if any(one.attribution for one in terms):
        by = [one for one in terms if one.family == "cc-by"]
        return _latest(by) if by else "cc-by-4.0", "Free to share and change, with attribution."
    return "cc0-1.0", "Free to share and change, without conditions."


def _of_share_alike(alike: Sequence[Terms]) -> tuple[str, str]:
    later = alike[0].family.startswith("cc-") and all(one.version >= _LATER_FROM for one in alike)
    if len({one.name for one in alike}) > 1 and not later:
        return (
            "other",
            "No single licence: versions of a share-alike licence that do not mix. Each canvas keeps its own.",
        )
    use = "Non-commercial use only, with" if alike[0].non_commercial else "Free to share and change, with"
    return _latest(
        alike
    ), f"{use} attribution and under the same licence, which also holds for works made of the canvases."


def _latest(terms: Sequence[Terms]) -> str:
    return max(terms, key=lambda one: one.version).name


def licence_counts(licences: Licences) -> dict[str, int]:
    """Photographs by the text of their licence, most first."""
    counts: Counter[str] = Counter()
    for (licence, _), count in licences.items():
        counts[licence or NOT_STATED] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def refused_photos(photos: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    """Photographs that the policy ``strict`` leaves out: key -> (reason, licence). photos: (key, licence, address)."""
    judged = ((key, terms_of(licence, address).problem, licence or NOT_STATED) for key, licence, address in photos)
    return {key: (problem, licence) for key, problem, licence in judged if problem}


def restricted_models(models: Iterable[tuple[str, str, str]]) -> list[str]:
    """``name (licence)`` of the models, given as (role, name, licence), whose licence states a limit on commercial use."""
    return [f"{name} ({licence})" for _, name, licence in models if _RESTRICTED_MODEL.search(licence)]
