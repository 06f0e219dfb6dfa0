"""Final shards (DESIGN 5) of a public cropping set: the same JSON schema as ``build`` writes, with what people annotated.

``photo`` is the content key of the picture's file, ``key`` is that and a running number. Crops come best first with scores in
0..10, ``origins`` are all ``annotated``, ``scorer`` is ``human``, ``photo_box`` is the best crop in whole pixels. For CAD, whose
first box is the photograph's rectangle, that one is ``photo_box`` and stays first. JPEG bytes are copied; other pictures
are encoded once.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.app.train_overlap import content_keys
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.storage.base import FileInfo
    from procrop_model.datasets.labelled import LabelledImage, LabelledSet
    from procrop_model.datasets.registry import Format
    from stages.build import Sample

Progress = Callable[[int, int], None]
SHARD_BYTES = 256_000_000
README = """---
pretty_name: {name}
task_categories:
  - object-detection
license: other
configs:
  - config_name: default
    data_files:
{files}
---

# {name}, as procrop-data's final shards

Converted by `procrop-data convert` from the public set `{name}`; the pictures and annotations are its makers', under its own terms,
which this copy does not change. Splits: {splits}.

{remarks}
"""


def write_shards(
    form: "Format", found: "LabelledSet", out: Path, shards: int, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Write ``shards``, ``index``, ``metadata``, ``checksums`` and a card below ``out``. Raises UsageError.

    Gives ``splits``, ``shards``, ``reencoded`` and ``across_splits``: pictures that the set has in more than one split.
    """
    from stages.publishing.shard_assignment import assign

    named = _named(found.images)
    sizes = sum(image.path.stat().st_size for image, _, _ in named)
    wanted = shards or max(len(found.splits()), -(-sizes // SHARD_BYTES))
    keys, splits = [key for _, key, _ in named], [image.split for image, _, _ in named]
    name = form.name.replace("-", "_")
    assigned = assign([(keys, splits)], wanted, 0, name)
    for folder in ("shards", "index", "metadata", "checksums"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    told: Counter[str] = Counter()
    (places,) = assigned.places
    listed = []
    for number, stem in enumerate(assigned.stems):
        rows = np.flatnonzero(places[:, 0] == number)
        chosen = [named[row] for row in rows[np.argsort(places[rows, 1])]]
        listed.append(_write_one(form, stem, chosen, out, told))
        progress(sum(count for _, count, _ in listed), len(named))
    _write_beside(form.name, found, listed, out)
    across = _across_splits(named)
    return {"splits": found.splits(), "shards": len(listed), "reencoded": told["reencoded"], "across_splits": across}


def _named(images: "Sequence[LabelledImage]") -> "list[tuple[LabelledImage, str, str]]":
    """Each picture with its sample's key and its photograph's."""
    photos, seen = content_keys([image.path for image in images]), Counter[str]()
    named = []
    for image in images:
        photo = photos[image.path]
        if seen[photo] > 999:
            raise UsageError(f"{image.path}: more than 1000 annotations of one picture")
        named.append((image, f"{photo}-{seen[photo]:03d}", photo))
        seen[photo] += 1
    return named


def _across_splits(named: "Sequence[tuple[LabelledImage, str, str]]") -> int:
    where: dict[str, set[str]] = {}
    for image, _, photo in named:
        where.setdefault(photo, set()).add(image.split)
    return sum(len(splits) > 1 for splits in where.values())


def _write_one(
    form: "Format", stem: str, chosen: "Sequence[tuple[LabelledImage, str, str]]", out: Path, told: Counter[str]
) -> tuple[str, int, "FileInfo"]:
    """One shard with its index and table; gives its file name, samples and digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.shards.write_shard import write_shard
    from stages.build import sample_json, sample_labels

    samples = [sample_of(form, *one) for one in chosen]

    def parts() -> Iterator[tuple[str, dict[str, bytes]]]:
        for sample, (image, key, _) in zip(samples, chosen, strict=True):
            data = jpeg_of(image.path, told)
            yield key, {"jpg": data, "json": sample_json(sample).encode(), "npy": sample_labels(sample)}

    tar = out / "shards" / f"{stem}.tar"
    about, index = write_shard(tar, parts())
    (out / "index" / f"{stem}.idx").write_bytes(index.encode())
    pq.write_table(pa.Table.from_pylist([asdict(sample) for sample in samples]), out / "metadata" / f"{stem}.parquet")
    return tar.name, len(samples), about


def jpeg_of(path: Path, told: Counter[str]) -> bytes:
    """The file's own bytes when it is a JPEG, else one encoding at quality 95 (counted)."""
    from PIL import Image

    from stages.photos.decode import encode_jpeg

    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if image.format in ("JPEG", "MPO"):
            return data
        told["reencoded"] += 1
        return encode_jpeg(image.convert("RGB"), 95)


def sample_of(form: "Format", image: "LabelledImage", key: str, photo: str) -> "Sample":
    """The record of a picture; see the module."""
    from procrop_model.datasets.registry import FIRST
    from stages.build import Sample

    boxes, scores = image.boxes, form.to_ten(image.scores)
    kept = 1 if form.protocol == FIRST else 0
    order = [*range(kept), *sorted(range(kept, len(boxes)), key=lambda i: -scores[i])]
    crops = [[float(v) for v in boxes[i]] for i in order]
    return Sample(
        key=key, photo=photo, width=image.width, height=image.height,
        photo_box=_whole(crops[0], image.width, image.height), crops=crops, scores=[float(scores[i]) for i in order],
        origins=["annotated"] * len(order), prompt="", negative_prompt="", seed=-1, outpainter="", scorer="human",
        licence=f"terms of {form.name}", author="", source=f"{form.name}: {image.name}",
    )  # fmt: skip


def _whole(box: Sequence[float], width: int, height: int) -> list[int]:
    """Rounded to pixels of the picture, at least one a side."""
    x1, y1 = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    return [x1, y1, min(max(round(box[2]), x1 + 1), width), min(max(round(box[3]), y1 + 1), height)]


def _write_beside(name: str, found: "LabelledSet", listed: "Sequence[tuple[str, int, FileInfo]]", out: Path) -> None:
    shards = [{"url": f"../shards/{n}", "nsamples": count, "filesize": about["size"]} for n, count, about in listed]
    body = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}
    (out / "index" / "wids.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    sums = "".join(f"{about['sha256']}  shards/{n}\n" for n, _, about in listed)
    (out / "checksums" / "sha256sum.txt").write_text(sums, encoding="utf-8")
    splits = ", ".join(f"{split} {count}" for split, count in found.splits().items())
    names = {split: f"{name.replace('-', '_')}-{split}-*.tar" for split in found.splits()}
    files = "\n".join(
        f"      - split: {'validation' if split == 'val' else split}\n        path: shards/{pattern}"
        for split, pattern in names.items()
    )
    text = README.format(
        name=name, splits=splits, files=files, remarks="\n".join(f"- {line}" for line in found.remarks())
    )
    (out / "README.md").write_text(text, encoding="utf-8")
