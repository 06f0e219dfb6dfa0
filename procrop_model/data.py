"""Canvases with their crops, read from the final shards, and the neighbours that the retrieve stage found for them."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipeline.errors import DamagedDataError, MissingUpstreamError
from procrop_model.augment import Annotated
from procrop_model.references import Neighbour


@dataclass(frozen=True)
class CanvasSample:
    """One sample of the dataset: encoded image bytes, ``photo_box`` (the pseudo-label), crops and their scores in
    0..10.
    """

    key: str
    photo: str
    image: bytes
    width: int
    height: int
    photo_box: tuple[int, int, int, int]
    crops: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]

    def decode(self) -> Annotated:
        """The picture with its crops; raises DamagedDataError when the bytes are not a picture."""
        try:
            pixels = np.asarray(Image.open(io.BytesIO(self.image)).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise DamagedDataError(f"sample {self.key}: its picture does not decode: {error}") from error
        crops = np.array(self.crops or [self.photo_box], np.float32).reshape(-1, 4)
        scores = np.array(self.scores or [10.0], np.float32)
        return Annotated(pixels, crops, scores)


def read_split(dataset_dir: Path | str, split: str, needed: bool = True) -> list[CanvasSample]:
    """All samples of a split, ordered by key, as encoded bytes (10-100 KB each).

    dataset_dir: the ``dataset`` folder of a run, or its ``shards``. Raises MissingUpstreamError when it has no such
    split.
    """
    home = Path(dataset_dir)
    folder = home / "shards" if (home / "shards").is_dir() else home
    tars = sorted(folder.glob(f"*-{split}-*.tar"))
    if not tars and needed:
        raise MissingUpstreamError(f"no shards of the split '{split}' in {folder}: run `procrop-data build` first")
    return sorted((sample for path in tars for sample in read_shard(path)), key=lambda sample: sample.key)


def read_shard(path: Path) -> Iterator[CanvasSample]:
    """The samples of one tar, in its order. Raises DamagedDataError when it is cut off or a sample is malformed.

    webdataset's own iterators, over a file that is closed here: its ``WebDataset`` leaves that to the garbage
    collector.
    """
    try:
        with path.open("rb") as file:
            for raw in group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])):
                yield _sample(raw, path)
    except tarfile.TarError as error:
        raise DamagedDataError(f"the shard {path} is damaged: {error}") from error


def _sample(raw: dict[str, Any], path: Path) -> CanvasSample:
    try:
        about = json.loads(raw["json"])
        return CanvasSample(
            key=about["key"],
            photo=about["photo"],
            image=raw["jpg"],
            width=about["width"],
            height=about["height"],
            photo_box=tuple(about["photo_box"]),
            crops=tuple(tuple(map(float, crop)) for crop in about["crops"]),
            scores=tuple(map(float, about["scores"])),
        )
    except (KeyError, ValueError) as error:
        raise DamagedDataError(f"sample {raw.get('__key__')} in {path} is malformed: {error!r}") from error


def references_of(retrieve_dir: Path | str) -> Path:
    """Folder of the reference database: ``shared`` in a run directory, ``references`` in a hand-made one."""
    shared = Path(retrieve_dir) / "shared"
    return shared if shared.is_dir() else Path(retrieve_dir) / "references"


def read_neighbours(retrieve_dir: Path | str) -> dict[str, list[Neighbour]]:
    """Neighbours by canvas key, best first, from the tables of the retrieve stage."""
    found: dict[str, list[Neighbour]] = {}
    for path in sorted(Path(retrieve_dir).glob("*.parquet")):
        table = pq.read_table(path, columns=["key", "status", "references", "similarities"])
        for row in table.to_pylist():
            if row["status"] == "kept":
                pairs = zip(row["references"], row["similarities"], strict=True)
                found[row["key"]] = [Neighbour(key, similarity) for key, similarity in pairs]
    return found
