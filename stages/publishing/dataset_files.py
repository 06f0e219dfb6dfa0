"""What lies beside the final tars: index, checksums, reader templates, credits, and the papers about the dataset."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipeline.core.stage import ShardReceipt, Tables
from pipeline.shards.contact_sheet import sheet_of
from pipeline.storage.base import FileInfo
from stages.publishing.attribution import Attribution, write_attribution
from stages.publishing.contents import EDGES, Contents, contents_of
from stages.publishing.croissant import croissant_json
from stages.publishing.data_sheet import data_sheet, dataset_words
from stages.publishing.dataset_card import dataset_card
from stages.publishing.dataset_facts import DatasetFacts, Models, render_template
from stages.publishing.licence_verdict import verdict_of

SPLITS = ("train", "val", "test")
_REJECTING = ("ingest", "outpaint", "perceive/canvases", "filter", "build")
Tars = Mapping[str, FileInfo]  # by path from the dataset's folder


def dataset_files(name: str, stage: str, tables: Tables, models: Models) -> Iterator[tuple[str, bytes | Path]]:
    """Files by path in the run directory; the same dataset gives the same bytes. stage: whose shards they are about.

    models: (role, name, licence) of each model that had a part in it.
    """
    receipts = tables.receipts(stage)
    tars = _tars(receipts)
    contents = contents_of(stage, tables)
    yield "dataset/index/wids.json", _wids(name, receipts)
    yield "dataset/checksums/sha256sum.txt", _checksums(receipts)
    yield "dataset/.nv-meta/dataset.yaml", render_template("energon-dataset.yaml", name=name)
    yield "dataset/.nv-meta/split.yaml", render_template("energon-split.yaml", splits=_by_split(tars))
    yield "dataset/.nv-meta/.info.yaml", render_template("energon-info.yaml", counts=_sample_counts(receipts))
    yield "dataset/examples.jpg", sheet_of(contents.examples)
    with tempfile.TemporaryDirectory() as folder:
        credits = Path(folder) / "attribution.csv"
        attribution = write_attribution(credits, tables, contents.canvases)
        yield "dataset/attribution.csv", credits
    facts = _facts(name, receipts, contents, attribution, tables, models)
    yield "dataset/DATASHEET.md", data_sheet(facts, tables)
    yield "dataset/croissant.json", croissant_json(dataset_words(facts), tars)
    yield "dataset/README.md", dataset_card(facts)


def _tars(receipts: Sequence[ShardReceipt]) -> dict[str, FileInfo]:
    return {
        path.removeprefix("dataset/"): FileInfo(size=about["size"], sha256=about["sha256"])
        for r in receipts for path, about in r.outputs.items() if path.endswith(".tar")
    }  # fmt: skip


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


def _by_split(tars: Tars) -> dict[str, list[str]]:
    names = [PurePosixPath(path).name for path in sorted(tars)]
    return {split: [n for n in names if f"-{split}-" in n] for split in SPLITS if any(f"-{split}-" in n for n in names)}


def _facts(
    name: str, receipts: Sequence[ShardReceipt], contents: Contents, attribution: Attribution, tables: Tables,
    models: Models,
) -> DatasetFacts:  # fmt: skip
    tars = _tars(receipts)
    sizes, splits = sorted(info["size"] for info in tars.values()), _by_split(tars)
    return DatasetFacts(
        name=name,
        splits=splits,
        samples={split: _count(receipts, split) for split in splits},
        sizes=(sizes[0], sizes[len(sizes) // 2], sizes[-1]),
        total=contents.total,
        crops=contents.crops,
        histogram=[(f"{EDGES[i]:.0f}-{EDGES[i + 1]:.0f}", int(n)) for i, n in enumerate(contents.histogram)],
        funnel=_funnel(tables),
        outpainters=sorted(contents.outpainters),
        scorers=sorted(contents.scorers),
        models=models,
        attribution=attribution,
        verdict=verdict_of(attribution.licences),
    )


def _count(receipts: Sequence[ShardReceipt], split: str) -> int:
    return sum(r.n_kept for r in receipts if any(f"-{split}-" in path for path in r.outputs))


def _funnel(tables: Tables) -> list[tuple[str, int, int, str]]:
    """(stage, in, kept, rejects by reason) of the stages that reject."""
    out = []
    for stage in _REJECTING:
        receipts = tables.receipts(stage)
        rejected: Counter[str] = Counter()
        for receipt in receipts:
            rejected.update(receipt.n_rejected)
            rejected.update({f"failed: {reason}": n for reason, n in receipt.n_failed.items()})
        words = ", ".join(f"{reason} {n}" for reason, n in sorted(rejected.items())) or "none"
        out.append((stage, sum(r.n_in for r in receipts), sum(r.n_kept for r in receipts), words))
    return out
