"""What the card, the data sheet and ``croissant.json`` say about a dataset, and how their templates are rendered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.core.escaping import markdown_text, yaml_text
from stages.publishing.attribution import Attribution
from stages.publishing.licence_verdict import LicenceVerdict, licence_counts, restricted_models

Models = Sequence[tuple[str, str, str]]
# An address that needs no escaping inside of <...> in Markdown.
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/?#@!&'()*+,;=%-]+")


@dataclass(frozen=True)
class DatasetFacts:
    """Counts and names of a finished dataset.

    Args:
        name: of the dataset.
        splits: names of the tars by split.
        samples: by split.
        sizes: least, median and greatest bytes of a tar.
        total: samples. crops: of all samples together.
        histogram: (range of scores, crops).
        funnel: (stage, in, kept, rejects by reason in words) of the stages that reject.
        outpainters, scorers: names with digest.
        models: (role, name, licence) of each model that had a part.
        attribution: of the photographs.
        verdict: on their licences.
    """

    name: str
    splits: Mapping[str, Sequence[str]]
    samples: Mapping[str, int]
    sizes: tuple[int, int, int]
    total: int
    crops: int
    histogram: Sequence[tuple[str, int]]
    funnel: Sequence[tuple[str, int, int, str]]
    outpainters: Sequence[str]
    scorers: Sequence[str]
    models: Models
    attribution: Attribution
    verdict: LicenceVerdict

    @property
    def licences(self) -> dict[str, int]:
        """Photographs by the text of their licence."""
        return licence_counts(self.attribution.licences)

    @property
    def restricted(self) -> list[str]:
        """Models whose licence limits commercial use."""
        return restricted_models(self.models)


def linked(text: str, address: str) -> str:
    """Text of Markdown that links to an address, or the text alone where the address is none of the web."""
    shown = markdown_text(text) or "not stated"
    return f"[{shown}](<{address}>)" if _ADDRESS.fullmatch(address) else shown


def render_template(template: str, **values: Any) -> bytes:
    """A file from ``stages/templates``. Values are escaped by the filters ``yaml`` and ``cell`` and by ``linked``."""
    environment = Environment(
        loader=PackageLoader("stages", "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"yaml": yaml_text, "cell": markdown_text}
    environment.globals["linked"] = linked
    return environment.get_template(template).render(**values).encode()
