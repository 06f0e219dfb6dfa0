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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.app.cropper.train_overlap import content_keys
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.datasets.labelled import LabelledImage, LabelledSet
    from procrop_model.datasets.registry import Format
    from stages.publishing.final_sample import FinalSample

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


@dataclass(frozen=True)
class WrittenShards:
    """Counts of a conversion.

    Args:
        shards: files written.
        reencoded: pictures that were no JPEG and were encoded once.
        across_splits: pictures that the set has in more than one split.
    """

    shards: int
    reencoded: int
    across_splits: int


class _Keyed(NamedTuple):
    """A picture of the set with the keys of its sample and of its photograph."""

    image: "LabelledImage"
    key: str
    photo: str


class _Shard(NamedTuple):
    """A written shard: its file name, number of samples, size in bytes and sha256."""

    name: str
    samples: int
    size: int
    sha256: str


def write_shards(
    form: "Format", labelled: "LabelledSet", out: Path, shards: int, progress: Progress = lambda done, total: None
) -> WrittenShards:
    """Write ``shards``, ``index``, ``metadata``, ``checksums`` and a card below ``out``. Raises UsageError.

    shards: number of shards over all splits; 0: about 256 MB each.
    """
    from stages.publishing.shard_assignment import assign_shards

    keyed = _with_keys(labelled.images)
    size = sum(one.image.path.stat().st_size for one in keyed)
    count = shards or max(len(labelled.splits()), -(-size // SHARD_BYTES))
    keys, splits = [one.key for one in keyed], [one.image.split for one in keyed]
    assigned = assign_shards([(keys, splits)], count, 0, form.name.replace("-", "_"))
    for folder in ("shards", "index", "metadata", "checksums"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    (places,) = assigned.places
    written: list[_Shard] = []
    for number, stem in enumerate(assigned.stems):
        rows = np.flatnonzero(places[:, 0] == number)
        chosen = [keyed[row] for row in rows[np.argsort(places[rows, 1])]]
        written.append(_write_one(form, stem, chosen, out, counts))
        progress(sum(shard.samples for shard in written), len(keyed))
    _write_index_and_card(form.name, labelled, written, out)
    return WrittenShards(len(written), counts["reencoded"], _across_splits(keyed))


def _with_keys(images: "Sequence[LabelledImage]") -> list[_Keyed]:
    """Each picture with its keys. Raises UsageError for more than 1000 annotations of one picture."""
    photos, seen = content_keys([image.path for image in images]), Counter[str]()
    keyed = []
    for image in images:
        photo = photos[image.path]
        if seen[photo] > 999:
            raise UsageError(f"{image.path}: more than 1000 annotations of one picture")
        keyed.append(_Keyed(image, f"{photo}-{seen[photo]:03d}", photo))
        seen[photo] += 1
    return keyed


def _across_splits(keyed: Sequence[_Keyed]) -> int:
    splits: dict[str, set[str]] = {}
    for one in keyed:
        splits.setdefault(one.photo, set()).add(one.image.split)
    return sum(len(names) > 1 for names in splits.values())


def _write_one(form: "Format", stem: str, chosen: Sequence[_Keyed], out: Path, counts: Counter[str]) -> _Shard:
    """Write one shard with its index and table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.shards.write_shard import write_shard
    from stages.publishing.final_sample import sample_json, sample_labels

    samples = [sample_of(form, *one) for one in chosen]

    def parts() -> Iterator[tuple[str, dict[str, bytes]]]:
        for sample, one in zip(samples, chosen, strict=True):
            data = jpeg_of(one.image.path, counts)
            yield one.key, {"jpg": data, "json": sample_json(sample).encode(), "npy": sample_labels(sample)}

    tar = out / "shards" / f"{stem}.tar"
    about, index = write_shard(tar, parts())
    (out / "index" / f"{stem}.idx").write_bytes(index.encode())
    pq.write_table(pa.Table.from_pylist([asdict(sample) for sample in samples]), out / "metadata" / f"{stem}.parquet")
    return _Shard(tar.name, len(samples), about["size"], about["sha256"])


def jpeg_of(path: Path, counts: Counter[str]) -> bytes:
    """The file's own bytes if it is a JPEG, else one encoding at quality 95, which is counted as ``reencoded``."""
    from PIL import Image

    from stages.photos.decode import encode_jpeg

    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if image.format in ("JPEG", "MPO"):
            return data
        counts["reencoded"] += 1
        return encode_jpeg(image.convert("RGB"), 95)


def sample_of(form: "Format", image: "LabelledImage", key: str, photo: str) -> "FinalSample":
    """The record of a picture, with the fields that the docstring of this module describes."""
    from procrop_model.datasets.registry import FIRST
    from stages.publishing.final_sample import FinalSample

    boxes, scores = image.boxes, form.to_ten(image.scores)
    kept = 1 if form.protocol == FIRST else 0
    order = [*range(kept), *sorted(range(kept, len(boxes)), key=lambda i: -scores[i])]
    crops = [[float(v) for v in boxes[i]] for i in order]
    return FinalSample(
        key=key, photo=photo, width=image.width, height=image.height,
        photo_box=_whole(crops[0], image.width, image.height), crops=crops, scores=[float(scores[i]) for i in order],
        origins=["annotated"] * len(order), prompt="", negative_prompt="", seed=-1, outpainter="", scorer="human",
        licence=f"terms of {form.name}", author="", source=f"{form.name}: {image.name}",
    )  # fmt: skip


def _whole(box: Sequence[float], width: int, height: int) -> list[int]:
    """Rounded to pixels of the picture, at least one a side."""
    x1, y1 = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    return [x1, y1, min(max(round(box[2]), x1 + 1), width), min(max(round(box[3]), y1 + 1), height)]


def _write_index_and_card(name: str, labelled: "LabelledSet", written: Sequence[_Shard], out: Path) -> None:
    shards = [
        {"url": f"../shards/{shard.name}", "nsamples": shard.samples, "filesize": shard.size} for shard in written
    ]
    body = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}
    (out / "index" / "wids.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    sums = "".join(f"{shard.sha256}  shards/{shard.name}\n" for shard in written)
    (out / "checksums" / "sha256sum.txt").write_text(sums, encoding="utf-8")
    splits = ", ".join(f"{split} {count}" for split, count in labelled.splits().items())
    names = {split: f"{name.replace('-', '_')}-{split}-*.tar" for split in labelled.splits()}
    files = "\n".join(
        f"      - split: {'validation' if split == 'val' else split}\n        path: shards/{pattern}"
        for split, pattern in names.items()
    )
    text = README.format(
        name=name, splits=splits, files=files, remarks="\n".join(f"- {line}" for line in labelled.remarks())
    )
    (out / "README.md").write_text(text, encoding="utf-8")
