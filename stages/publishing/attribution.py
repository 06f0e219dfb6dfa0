"""``attribution.csv``: the author, licence and source of each photograph that the dataset is made of."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

from pipeline.core.escaping import csv_cell
from pipeline.core.stage import Tables
from stages.publishing.contents import photo_number

LISTED = 200  # photographs that the card lists; the file has all


@dataclass(frozen=True)
class PhotoCredits:
    """The columns of ``Photo`` that name its author and its terms."""

    key: str
    title: str
    author: str
    licence: str
    licence_url: str
    source: str


COLUMNS = ("photo", "title", "author", "licence", "licence_url", "source", "canvases")


@dataclass
class Attribution:
    """What the file holds.

    Args:
        photos: number of photographs.
        listed: the first of them, with the number of their canvases.
        licences: photographs by (licence, address of the licence).
    """

    photos: int = 0
    listed: list[tuple[PhotoCredits, int]] = field(default_factory=list)
    licences: Counter[tuple[str, str]] = field(default_factory=Counter)


def write_attribution(path: Path, tables: Tables, canvases: Mapping[int, int]) -> Attribution:
    """Write the file, a row for each photograph with a canvas, by key within each work shard; gives its totals.

    canvases: samples by photograph (``photo_number``).
    """
    found = Attribution()
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for photo, count in _credited(tables, canvases):
            rows.writerow([csv_cell(value) for value in (*astuple(photo), count)])
            found.photos += 1
            found.licences[photo.licence, photo.licence_url] += 1
            if len(found.listed) < LISTED:
                found.listed.append((photo, count))
    return found


def _credited(tables: Tables, canvases: Mapping[int, int]) -> Iterator[tuple[PhotoCredits, int]]:
    for part in tables.shards("ingest"):
        for photo in tables.rows("ingest", part, PhotoCredits):
            count = canvases.get(photo_number(photo.key), 0)
            if count:
                yield photo, count
