"""What lies beside the final tars: index, checksums, reader templates and the card that people read first."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from pipeline.core.escaping import markdown_text, yaml_text
from pipeline.core.stage import ShardReceipt, Tables
from pipeline.shards.contact_sheet import sheet_of

EXAMPLES = 12
EDGES = np.linspace(0, 10, 11)
Models = Sequence[tuple[str, str, str]]
SPLITS = ("train", "val", "test")
SMALL_SHARD, LARGE_SHARD = 100_000_000, 1_000_000_000


@dataclass(frozen=True)
class _Row:
    """The columns of a final sample that the card sums up."""

    key: str
    photo: str
    photo_box: list[int]
    crops: list[list[float]]
    scores: list[float]
    outpainter: str
    scorer: str
    licence: str
    author: str
    source: str
    image_offset: int
    image_size: int


@dataclass
class Contents:
    """Totals of the samples for the card, added up shard by shard."""

    total: int = 0
    crops: int = 0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(10, np.int64))
    credits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    outpainters: set[str] = field(default_factory=set)
    scorers: set[str] = field(default_factory=set)
    photos: set[int] = field(default_factory=set)  # of their keys, 64 bits: text would be several times as large
    examples: list[tuple[bytes, Sequence[float], Sequence[Sequence[float]]]] = field(default_factory=list)

    def add(self, rows: Sequence[_Row]) -> None:
        """Take in the samples of a shard."""
        scores = np.asarray([score for row in rows for score in row.scores])
        self.total += len(rows)
        self.crops += len(scores)
        self.histogram += np.histogram(np.clip(scores, 0, 10), EDGES)[0]
        self.credits.update((row.source, row.author, row.licence) for row in rows)
        self.outpainters.update(row.outpainter for row in rows)
        self.scorers.update(row.scorer for row in rows)
        self.photos.update(int.from_bytes(hashlib.sha256(row.photo.encode()).digest()[:8]) for row in rows)


def card_files(name: str, stage: str, tables: Tables, models: Models) -> Iterator[tuple[str, bytes]]:
    """Files by path in the run directory; the same dataset gives the same bytes. stage: whose shards they are about.

    models: (role, name, licence) of each model that had a part in it.
    """
    receipts = tables.receipts(stage)
    tars = {path: about for r in receipts for path, about in r.outputs.items() if path.endswith(".tar")}
    contents = _contents(stage, receipts, tables)
    yield "dataset/index/wids.json", _wids(name, receipts)
    yield "dataset/checksums/sha256sum.txt", _checksums(receipts)
    yield "dataset/.nv-meta/dataset.yaml", render_card_template("energon-dataset.yaml", name=name)
    yield "dataset/.nv-meta/split.yaml", render_card_template("energon-split.yaml", splits=_by_split(tars))
    yield "dataset/.nv-meta/.info.yaml", render_card_template("energon-info.yaml", counts=_sample_counts(receipts))
    yield "dataset/examples.jpg", sheet_of(contents.examples)
    yield "dataset/README.md", _card(name, tars, contents, receipts, tables, models)


def _contents(stage: str, receipts: Sequence[ShardReceipt], tables: Tables) -> Contents:
    """Goes through the tables of all shards once; examples are the canvases whose photo scores best, one of each photo."""
    contents = Contents()
    best: dict[str, tuple[float, str, str, _Row]] = {}  # by photo
    for receipt in receipts:
        tar = next((path for path in receipt.outputs if path.endswith(".tar")), "")
        rows = tables.rows(stage, receipt.shard, _Row)
        for row in rows:
            found = (row.scores[0], row.key, tar, row)
            best[row.photo] = max(found, best.get(row.photo, found), key=lambda one: one[:2])
        best = dict(sorted(best.items(), key=lambda item: item[1][:2])[-EXAMPLES:])
        contents.add(rows)
    for _, _, tar, row in sorted(best.values(), key=lambda one: one[:2], reverse=True):
        data = tables.read_range(tar, row.image_offset, row.image_size)
        contents.examples.append((data, row.photo_box, row.crops[1:]))
    return contents


def _wids(name: str, receipts: Sequence[ShardReceipt]) -> bytes:
    """The index that webdataset's ``wids`` reads: samples and bytes of each shard."""
    shards = [
        {"url": f"../shards/{PurePosixPath(path).name}", "nsamples": r.n_kept, "filesize": about["size"]}
        for r in receipts for path, about in r.outputs.items() if path.endswith(".tar")
    ]  # fmt: skip
    body = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}
    return (json.dumps(body, indent=1) + "\n").encode()


def _sample_counts(receipts: Sequence[ShardReceipt]) -> list[tuple[str, int]]:
    tars = [(path, r.n_kept) for r in receipts for path in r.outputs if path.endswith(".tar")]
    return [(path.removeprefix("dataset/"), count) for path, count in sorted(tars)]


def _checksums(receipts: Sequence[ShardReceipt]) -> bytes:
    """Lines for ``sha256sum --check`` run in the dataset's folder."""
    lines = [
        f"{about['sha256']}  {path.removeprefix('dataset/')}" for r in receipts for path, about in r.outputs.items()
    ]
    return ("\n".join(sorted(lines, key=lambda line: line[66:])) + "\n").encode()


def _by_split(tars: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    names = [PurePosixPath(path).name for path in sorted(tars)]
    return {split: [n for n in names if f"-{split}-" in n] for split in SPLITS if any(f"-{split}-" in n for n in names)}


def _card(
    name: str,
    tars: Mapping[str, Mapping[str, Any]],
    contents: Contents,
    receipts: Sequence[ShardReceipt],
    tables: Tables,
    models: Models,
) -> bytes:
    sizes = sorted(about["size"] for about in tars.values())
    return render_card_template(
        "dataset-card.md",
        name=name,
        splits=_by_split(tars),
        samples={split: _count(receipts, split) for split in _by_split(tars)},
        photos=len(contents.photos),
        total=contents.total,
        crops=contents.crops,
        licences=sorted({licence or "not stated" for _, _, licence in contents.credits}),
        credits=sorted(contents.credits.items()),
        histogram=[(f"{EDGES[i]:.0f}-{EDGES[i + 1]:.0f}", int(n)) for i, n in enumerate(contents.histogram)],
        funnel=_funnel(tables),
        outpainters=sorted(contents.outpainters),
        scorers=sorted(contents.scorers),
        models=models,
        sizes=(sizes[0], sizes[len(sizes) // 2], sizes[-1]),
    )


def _count(receipts: Sequence[ShardReceipt], split: str) -> int:
    return sum(r.n_kept for r in receipts if any(f"-{split}-" in path for path in r.outputs))


def _funnel(tables: Tables) -> list[tuple[str, int, int, str]]:
    """(stage, in, kept, rejects by reason) of the stages that reject."""
    out = []
    for stage in ("ingest", "outpaint", "filter", "build"):
        receipts = tables.receipts(stage)
        rejected: Counter[str] = Counter()
        for receipt in receipts:
            rejected.update(receipt.n_rejected)
            rejected.update({f"failed: {reason}": n for reason, n in receipt.n_failed.items()})
        words = ", ".join(f"{reason} {n}" for reason, n in sorted(rejected.items())) or "none"
        out.append((stage, sum(r.n_in for r in receipts), sum(r.n_kept for r in receipts), words))
    return out


def render_card_template(template: str, **values: Any) -> bytes:
    environment = Environment(
        loader=PackageLoader("stages", "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"yaml": yaml_text, "cell": markdown_text}
    return environment.get_template(template).render(**values).encode()
