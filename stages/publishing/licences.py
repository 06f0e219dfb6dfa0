"""What the licence of a photograph allows for works made of it, read from the text and the address that a list states."""

import re
from dataclasses import dataclass
from functools import lru_cache

from pipeline.core.escaping import one_line

NO_DERIVATIVES, NON_COMMERCIAL, UNKNOWN = "licence_no_derivatives", "licence_non_commercial", "licence_unknown"
LICENCE_REASONS = (NO_DERIVATIVES, NON_COMMERCIAL, UNKNOWN)


@dataclass(frozen=True)
class Terms:
    """What a licence asks of those who share a work made of the photograph.

    Args:
        name: of the licence as the hub spells it, for example ``cc-by-sa-4.0``; empty where its text is not understood.
        attribution: the author must be named.
        share_alike: the work must carry the same licence.
        non_commercial: no use for money.
        no_derivatives: no changed copy, which a canvas is, may be shared.
    """

    name: str = ""
    attribution: bool = False
    share_alike: bool = False
    non_commercial: bool = False
    no_derivatives: bool = False

    @property
    def problem(self) -> str:
        """The first of ``LICENCE_REASONS`` that applies: why a strict dataset leaves the photograph out; empty for none."""
        if not self.name:
            return UNKNOWN
        if self.no_derivatives:
            return NO_DERIVATIVES
        return NON_COMMERCIAL if self.non_commercial else ""

    @property
    def family(self) -> str:
        """The name without its version."""
        return self.name.rstrip("0123456789.").rstrip("-")

    @property
    def version(self) -> tuple[int, ...]:
        """Of the licence, (4, 0) for ``cc-by-4.0``; empty without one."""
        number = self.name[len(self.family) :].strip("-")
        return tuple(int(part) for part in number.split(".")) if number else ()


FREE, BY, SAME = Terms(), Terms(attribution=True), Terms(attribution=True, share_alike=True)
NO_PERMISSION = Terms(attribution=True, no_derivatives=True)
# Name in lower case with hyphens -> name on the hub, terms.
_OTHERS = {
    "public-domain": ("cc0-1.0", FREE), "pd": ("cc0-1.0", FREE), "public-domain-mark": ("cc0-1.0", FREE),
    "public-domain-mark-1.0": ("cc0-1.0", FREE), "pdm-1.0": ("cc0-1.0", FREE), "cc-pddc": ("cc0-1.0", FREE),
    "cc0": ("cc0-1.0", FREE), "cc-0": ("cc0-1.0", FREE), "cc0-1.0": ("cc0-1.0", FREE), "cc-zero": ("cc0-1.0", FREE),
    "cc-zero-1.0": ("cc0-1.0", FREE), "unlicense": ("unlicense", FREE), "pddl": ("pddl", FREE), "wtfpl": ("wtfpl", FREE),
    "mit": ("mit", BY), "apache-2.0": ("apache-2.0", BY), "bsd-2-clause": ("bsd-2-clause", BY),
    "bsd-3-clause": ("bsd-3-clause", BY), "odc-by": ("odc-by", BY), "ogl-uk-3.0": ("other", BY), "etalab-2.0": ("etalab-2.0", BY),
    "odbl": ("odbl", SAME), "gfdl": ("gfdl", SAME), "gfdl-1.2": ("gfdl", SAME), "gfdl-1.3": ("gfdl", SAME),
    "gpl-2.0": ("gpl-2.0", SAME), "gpl-3.0": ("gpl-3.0", SAME), "lal-1.3": ("other", SAME), "fal": ("other", SAME),
    "free-art-license": ("other", SAME), "free-art-license-1.3": ("other", SAME),
    "all-rights-reserved": ("other", NO_PERMISSION), "copyrighted": ("other", NO_PERMISSION),
    "proprietary": ("other", NO_PERMISSION),
}  # fmt: skip
_WORDS = (
    (r"creative-commons", "cc"), (r"attribution", "by"), (r"share-?alike", "sa"), (r"non-?commercial", "nc"),
    (r"no-?deriv(?:ative)?s?(?:-works)?", "nd"),
)  # fmt: skip
# Words after the parts that change nothing here: the place of a ported licence, and how people write the name.
_FILLERS = {"international", "intl", "unported", "generic", "licence", "license", "deed", "igo"}
_COUNTRY = re.compile(r"^[a-z]{2}$")
_ADDRESS = re.compile(
    r"^(?:https?://)?(?:www\.)?creativecommons\.org/(?:licenses/(?P<parts>[a-z-]+)/(?P<version>\d\.\d)|publicdomain/(?:zero|mark)/)"
)


@lru_cache(maxsize=4096)
def terms_of(licence: str, address: str = "") -> Terms:
    """The terms of a licence. Where text and address say different things, all restrictions of both count.

    Args:
        licence: text of a list, for example ``CC-BY-SA-3.0``, ``CC BY 4.0`` or ``public domain``.
        address: of the licence's text; only those of Creative Commons are understood.

    A text that is not understood as a whole is not understood: it may hold conditions.
    """
    text, link = _of_text(licence), _of_address(address)
    if not one_line(licence):
        return link
    if not text.name or not link.name or text == link:
        return text
    stricter = max((text, link), key=lambda terms: (terms.no_derivatives, terms.non_commercial, terms.share_alike))
    return Terms(
        stricter.name, text.attribution or link.attribution, text.share_alike or link.share_alike,
        text.non_commercial or link.non_commercial, text.no_derivatives or link.no_derivatives,
    )  # fmt: skip


def _of_text(licence: str) -> Terms:
    name = re.sub(r"[\s_/]+", "-", one_line(licence).lower()).strip("-")
    if name in _OTHERS:
        hub, terms = _OTHERS[name]
        return Terms(hub, terms.attribution, terms.share_alike, terms.non_commercial, terms.no_derivatives)
    for pattern, short in _WORDS:
        name = re.sub(pattern, short, name)
    head, _, rest = name.partition("-")
    return _creative_commons(rest.split("-")) if head == "cc" else Terms()


def _of_address(address: str) -> Terms:
    found = _ADDRESS.match(address.strip().lower())
    if found is None:
        return Terms()
    if found["parts"] is None:
        return Terms("cc0-1.0")
    return _creative_commons([*found["parts"].split("-"), found["version"]])


def _creative_commons(parts: list[str]) -> Terms:
    """Terms from the parts after ``cc``: conditions, then a version, then words that change nothing."""
    conditions = []
    while parts and parts[0] in ("by", "nc", "nd", "sa"):
        conditions.append(parts.pop(0))
    version = parts.pop(0) if parts and re.fullmatch(r"\d\.\d", parts[0]) else ""
    if not conditions or any(part not in _FILLERS and not _COUNTRY.match(part) for part in parts):
        return Terms()
    if "sa" in conditions and "nd" in conditions:  # there is no such licence
        return Terms()
    ordered = [part for part in ("by", "nc", "nd", "sa") if part in conditions]
    name = "-".join(filter(None, ["cc", *ordered, version]))
    return Terms(name, "by" in ordered, "sa" in ordered, "nc" in ordered, "nd" in ordered)
