"""Credits that a tar has beside a photograph: the ``.json`` and ``.txt`` of img2dataset, or of a dataset of this program."""

import json
from collections.abc import Mapping

from stages.photos.credits import checked_credits

SIDECARS = (".json", ".txt")
# Names in the JSON, the first that has a value counts: those of img2dataset, of lists of photographs, and of our own samples.
NAMES = {
    "title": ("title", "caption", "alt"),
    "author": ("author", "creator", "artist", "photographer", "credit"),
    "licence": ("licence", "license"),
    "licence_url": ("licence_url", "license_url"),
    "source": ("source", "url"),
    "split": ("split",),
}


def sidecar_credits(texts: Mapping[str, bytes], where: str) -> dict[str, str]:
    """The credits of a photograph. texts: extension -> bytes, of ``SIDECARS``; where: names the photograph in errors.

    What is no JSON object says nothing; the text of ``.txt`` is the title where the JSON has none. Raises UsageError for an
    unknown split.
    """
    row = _object(texts.get(".json", b""))
    found = {field: next((row[name] for name in names if row.get(name)), None) for field, names in NAMES.items()}
    return checked_credits({**found, "title": found["title"] or texts.get(".txt")}, where)


def _object(data: bytes) -> dict[str, object]:
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in row.items() if isinstance(value, str)} if isinstance(row, dict) else {}
