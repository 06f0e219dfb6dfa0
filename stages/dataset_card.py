"""What lies beside the final tars: index, checksums, reader templates and the card that people read first."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.contact_sheet import sheet_of
from pipeline.stage import Rows, Tables

EXAMPLES = 12
SPLITS = ("train", "val", "test")
SMALL_SHARD, LARGE_SHARD = 100_000_000, 1_000_000_000


def card_files(name: str, receipts: Sequence[Any], rows: Rows, tables: Tables) -> dict[str, bytes]:
    """Files by path in the run directory; the same dataset gives the same bytes."""
    tars = {path: about for r in receipts for path, about in r.outputs.items() if path.endswith(".tar")}
    examples = _examples(rows, receipts, tables)
    return {
        "dataset/index/wids.json": _wids(name, receipts),
        "dataset/checksums/sha256sum.txt": _checksums(receipts),
        "dataset/.nv-meta/dataset.yaml": _render("energon-dataset.yaml", name=name),
        "dataset/.nv-meta/split.yaml": _render("energon-split.yaml", splits=_by_split(tars)),
        "dataset/.nv-meta/.info.yaml": _render("energon-info.yaml", counts=_sample_counts(receipts)),
        "dataset/examples.jpg": examples,
        "dataset/README.md": _card(name, tars, rows, receipts, tables),
    }


def _wids(name: str, receipts: Sequence[Any]) -> bytes:
    """The index that webdataset's ``wids`` reads: samples and bytes of each shard."""
    shards = [
        {"url": f"../shards/{PurePosixPath(path).name}", "nsamples": r.n_kept, "filesize": about["size"]}
        for r in receipts for path, about in r.outputs.items() if path.endswith(".tar")
    ]  # fmt: skip
    body = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}
    return (json.dumps(body, indent=1) + "\n").encode()


def _sample_counts(receipts: Sequence[Any]) -> list[tuple[str, int]]:
    tars = [(path, r.n_kept) for r in receipts for path in r.outputs if path.endswith(".tar")]
    return [(path.removeprefix("dataset/"), count) for path, count in sorted(tars)]


def _checksums(receipts: Sequence[Any]) -> bytes:
    """Lines for ``sha256sum --check`` run in the dataset's folder."""
    lines = [
        f"{about['sha256']}  {path.removeprefix('dataset/')}" for r in receipts for path, about in r.outputs.items()
    ]
    return ("\n".join(sorted(lines, key=lambda line: line[66:])) + "\n").encode()


def _by_split(tars: dict[str, Any]) -> dict[str, list[str]]:
    names = [PurePosixPath(path).name for path in sorted(tars)]
    return {split: [n for n in names if f"-{split}-" in n] for split in SPLITS if any(f"-{split}-" in n for n in names)}


def _examples(rows: Rows, receipts: Sequence[Any], tables: Tables) -> bytes:
    """A sheet of canvases with the photo's rectangle and the kept crops drawn."""
    paths = {r.shard: path for r in receipts for path in r.outputs if path.endswith(".tar")}
    chosen = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
    pictures = []
    for row in chosen:
        data = tables.read_range(paths[row["shard"]], row["image_offset"], row["image_size"])
        pictures.append((data, row["photo_box"], row["crops"][1:]))
    return sheet_of(pictures)


def _card(name: str, tars: dict[str, Any], rows: Rows, receipts: Sequence[Any], tables: Tables) -> bytes:
    scores = np.asarray([s for row in rows for s in row["scores"]])
    edges = np.linspace(0, 10, 11)
    counts, _ = np.histogram(np.clip(scores, 0, 10), edges)
    sizes = sorted(about["size"] for about in tars.values())
    credit = Counter((row["source"], row["author"], row["licence"]) for row in rows)
    return _render(
        "dataset-card.md",
        name=name,
        splits=_by_split(tars),
        samples={split: _count(receipts, split) for split in _by_split(tars)},
        photos=len({row["photo"] for row in rows}),
        total=len(rows),
        crops=len(scores),
        licences=sorted({row["licence"] or "not stated" for row in rows}),
        credits=sorted(credit.items()),
        histogram=[(f"{edges[i]:.0f}-{edges[i + 1]:.0f}", int(n)) for i, n in enumerate(counts)],
        funnel=_funnel(tables),
        outpainters=sorted({row["outpainter"] for row in rows}),
        scorers=sorted({row["scorer"] for row in rows}),
        sizes=(sizes[0], sizes[len(sizes) // 2], sizes[-1]),
    )


def _count(receipts: Sequence[Any], split: str) -> int:
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


def _render(template: str, **values: Any) -> bytes:
    environment = Environment(
        loader=PackageLoader("stages", "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    return environment.get_template(template).render(**values).encode()
