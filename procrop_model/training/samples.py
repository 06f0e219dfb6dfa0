"""Canvases with their crops, read from the final shards, and their neighbours, read from the retrieve stage."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import DamagedDataError
from pipeline.shards.dataset import ShardSet
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.training.augment import Annotated

ANNOTATED = "annotated"  # origin of the crops of a converted public set


@dataclass(frozen=True)
class CanvasSample:
    """One sample of the dataset.

    Args:
        key: unique key of the sample.
        photo: key of the photograph that the canvas was painted around.
        image: encoded image bytes; empty where only the labels were read.
        width, height: size in pixels.
        photo_box: the pseudo-label, (x1, y1, x2, y2) in pixels; of a public set, the best annotated crop.
        crops: boxes (x1, y1, x2, y2) in pixels.
        scores: a score of 0..10 for each crop.
        prompt: the caption, or "".
        annotated: whether people scored the crops (a converted public set).
    """

    key: str
    photo: str
    image: bytes
    width: int
    height: int
    photo_box: tuple[int, int, int, int]
    crops: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    prompt: str = ""
    annotated: bool = False

    def decode(self) -> Annotated:
        """The decoded image with its crops; raises DamagedDataError when the bytes cannot be decoded."""
        try:
            pixels = np.asarray(Image.open(io.BytesIO(self.image)).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise DamagedDataError(f"sample {self.key}: its image cannot be decoded: {error}") from error
        crops = np.array(self.crops or [self.photo_box], np.float32).reshape(-1, 4)
        scores = np.array(self.scores or [10.0], np.float32)
        return Annotated(pixels, crops, scores)


class Samples(Protocol):
    """A sequence of samples with their keys, as training reads it."""

    keys: list[str]

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[CanvasSample]: ...
    def __getitem__(self, index: int) -> CanvasSample: ...
    def labels(self) -> Iterator[CanvasSample]:
        """All samples with their image bytes left empty."""
        ...


class CanvasSet(Sequence[CanvasSample]):
    """Samples ordered by key. Each is read from its shard on access, so memory holds the shards' indexes only.

    Raises DamagedDataError when a shard is cut off or a sample is malformed.
    """

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards
        keys = list(shards.keys())
        self._order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
        self.keys = [keys[position] for position in self._order]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> CanvasSample:  # type: ignore[override]  # no slices: they would load many
        return self._read(index, ("jpg", "json"))

    def labels(self) -> Iterator[CanvasSample]:
        """All samples with their image bytes left empty: labels and sizes without the cost of reading images."""
        return (self._read(index, ("json",)) for index in range(len(self)))

    def _read(self, index: int, extensions: tuple[str, ...]) -> CanvasSample:
        shard, row = self._shards.locate(int(self._order[index]))
        sample = self._shards.read(shard, row, extensions)
        return _sample(sample.key, {"jpg": b"", **sample.parts}, self._shards.tars[shard])


def read_split(dataset_dir: Path | str, split: str, needed: bool = True) -> CanvasSet:
    """The samples of a split. dataset_dir: the ``dataset`` folder of a run, or its ``shards``. Raises MissingUpstreamError
    when it has no such split.
    """
    return CanvasSet(ShardSet.of_split(dataset_dir, split, needed=needed))


def _sample(key: str, parts: dict[str, bytes], path: Path) -> CanvasSample:
    try:
        about = json.loads(parts["json"])
        return CanvasSample(
            key=about["key"],
            photo=about["photo"],
            image=parts["jpg"],
            width=about["width"],
            height=about["height"],
            photo_box=tuple(about["photo_box"]),
            crops=tuple(tuple(map(float, crop)) for crop in about["crops"]),
            scores=tuple(map(float, about["scores"])),
            prompt=str(about.get("prompt", "")),
            annotated=bool(about.get("origins")) and set(about["origins"]) == {ANNOTATED},
        )
    except (KeyError, ValueError) as error:
        raise DamagedDataError(f"sample {key} in {path} is malformed: {error!r}") from error


@dataclass(frozen=True)
class RetrievalResults:
    """The references of a run and, by sample key, the neighbours of each sample, most similar first."""

    database: ReferenceDatabase
    neighbours: dict[str, list[Neighbour]]


def references_of(retrieve_dir: Path | str) -> Path:
    """Folder of the reference database: ``shared`` in a run directory, ``references`` in a hand-made one."""
    shared = Path(retrieve_dir) / "shared"
    return shared if shared.is_dir() else Path(retrieve_dir) / "references"


def read_neighbours(retrieve_dir: Path | str) -> dict[str, list[Neighbour]]:
    """Neighbours by canvas key, best first, from the tables of the retrieve stage."""
    neighbours: dict[str, list[Neighbour]] = {}
    for path in sorted(Path(retrieve_dir).glob("*.parquet")):
        # Without threads: Arrow's reader threads may still be running when the process ends, which aborts it.
        table = pq.ParquetFile(path, pre_buffer=False).read(
            ["key", "status", "references", "similarities"], use_threads=False
        )
        for row in table.to_pylist():
            if row["status"] == "kept":
                pairs = zip(row["references"], row["similarities"], strict=True)
                neighbours[row["key"]] = [Neighbour(key, similarity) for key, similarity in pairs]
    return neighbours
