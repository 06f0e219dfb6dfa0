"""Retrieve: for each canvas the k compositionally most similar professional photographs, never its own.

The database holds the photos of the train split but for those that ``build`` left out as near others or near a test set; the
index and its parameters go to ``retrieve/shared``.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.json_types import JsonObject
from pipeline.core.records import CANVAS, PHOTO, Embedding, Neighbours
from pipeline.core.release_memory import give_back
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Tables, Task
from pipeline.shards import parquet
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.retrieval.entries import Reference
from procrop_model.retrieval.writer import NearDuplicates, ReferenceWriter
from stages.backends.base.protocols import Encoder
from stages.near_duplicates.build_leak_report import LEAKS

LEAKS_FILE = f"build/{LEAKS}"


class RetrieveSettings(Settings):
    """Settings of the search.

    Args:
        k: references of each canvas.
        max_cosine: a reference whose cosine to the canvas's own photo is this or more is left out.
        near_bits: a reference whose perceptual hash is at most so many bits from the own photo's is left out.
        index: ``auto`` is ``flat`` (exact) up to a million photos, and ``ivf`` beyond.
        micro_batch: canvases searched together.
    """

    k: int = Field(10, ge=1, le=100)
    max_cosine: float = Field(0.985, gt=0, le=1)
    near_bits: int = Field(6, ge=0, le=32)
    index: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    micro_batch: int = Field(256, ge=1)


@dataclass(frozen=True)
class _Query:
    """A canvas, by its photo and the vectors float32 [D] of both. phash: the photo's."""

    photo: str
    vector: NDArray[np.float32]
    photo_vector: NDArray[np.float32]
    phash: str


@dataclass(frozen=True)
class _Credits:
    """The columns of ``Photo`` that a reference shows."""

    key: str
    phash: str
    title: str
    author: str
    licence: str
    source: str


@dataclass(frozen=True)
class _Hash:
    """The columns of ``Photo`` that a query needs."""

    key: str
    phash: str


@dataclass(frozen=True)
class _Vector:
    """The columns of ``Embedding`` that a query needs: not its tokens."""

    key: str
    photo: str
    kind: str
    vector: bytes


class Retrieve(Stage[_Query]):
    """Builds the reference database in its prologue; each shard then searches for its canvases."""

    name = "retrieve"
    version = 3
    upstream = ("ingest", "embed")
    reads = MappingProxyType({"ingest": (_Credits,), "embed": (Embedding,)})
    reads_shared = (LEAKS_FILE,)
    record = Neighbours
    prologue_needed = True

    def __init__(
        self, settings: RetrieveSettings, encoder: Encoder, encoder_settings: JsonObject | None = None
    ) -> None:
        """encoder_settings: what builds the encoder again; a cropper needs it for new images."""
        self._settings = settings
        self._encoder = encoder
        self._described = dict(encoder_settings or {})
        self.micro_batch = settings.micro_batch
        self._database: ReferenceDatabase | None = None

    def settings(self) -> JsonObject:
        return self._settings.model_dump(mode="json")

    def models(self) -> dict[str, str]:
        return {"encoder": self._encoder.digest}

    def prologue(self, tables: Tables) -> Iterator[tuple[str, Path]]:
        """The reference database of all train photos that ``build`` did not leave out as near others, as files."""
        leaks = {leak["photo"] for leak in json.loads(tables.shared(LEAKS_FILE))["leaks"]}
        limits = NearDuplicates(self._settings.max_cosine, self._settings.near_bits)
        with tempfile.TemporaryDirectory() as folder:
            writer = ReferenceWriter(
                folder,
                self._encoder.digest,
                limits,
                index=self._settings.index,
                encoder_settings=self._described,
                expected=sum(receipt.n_kept for receipt in tables.receipts("ingest")),
            )
            for shard in tables.shards("embed"):
                table = tables.columns("embed", shard, parquet.columns_of(Embedding))
                wanted = pc.and_(pc.equal(table["kind"], PHOTO), pc.equal(table["split"], "train"))
                rows = [row for row in parquet.kept_records(Embedding, table.filter(wanted)) if row.key not in leaks]
                photos = {photo.key: photo for photo in tables.rows("ingest", shard, _Credits)}
                if rows:
                    writer.add(
                        np.stack([np.frombuffer(row.vector, np.float16) for row in rows]),
                        np.stack([_tokens(row) for row in rows]),
                        [_reference(photos[row.key]) for row in rows],
                    )
            names = writer.close()
            del writer
            give_back()  # the vectors of all photographs
            for name in names:
                yield name, Path(folder) / name

    def tasks(self, shard: Shard) -> list[Task[_Query]]:
        hashes = {photo.key: photo.phash for photo in shard.rows("ingest", _Hash)}
        rows = shard.rows("embed", _Vector)
        own = {row.key: _vector(row) for row in rows if row.kind == PHOTO}
        return [
            Task(row.key, _Query(row.photo, _vector(row), own[row.photo], hashes[row.photo]))
            for row in rows
            if row.kind == CANVAS
        ]

    def run(self, tasks: Sequence[Task[_Query]], shard: Shard) -> list[Outcome]:
        database = self._open(shard)
        queries = [task.payload for task in tasks]
        neighbours = database.search(
            np.stack([query.vector for query in queries]),
            self._settings.k,
            exclude=[{query.photo} for query in queries],
            parents=np.stack([query.photo_vector for query in queries]),
            parent_phashes=[query.phash for query in queries],
        )
        return [
            Outcome.kept(Neighbours(task.key, task.payload.photo, hits.keys, hits.similarities))
            for task, hits in zip(tasks, neighbours, strict=True)
        ]

    def _open(self, shard: Shard) -> ReferenceDatabase:
        """The database, loaded once for all shards of a worker."""
        if self._database is None:
            with tempfile.TemporaryDirectory() as folder:
                about = shard.shared("index.json")
                (Path(folder) / "index.json").write_bytes(about)
                for name in json.loads(about)["bytes"]:
                    if name != "tokens.npy":
                        (Path(folder) / name).write_bytes(shard.shared(name))
                self._database = ReferenceDatabase.load(folder, self._encoder.digest, with_tokens=False)
        return self._database


def _reference(photo: _Credits) -> Reference:
    return Reference(photo=photo.key, **vars(photo))


def _vector(row: _Vector) -> NDArray[np.float32]:
    return np.frombuffer(row.vector, np.float16).astype(np.float32)


def _tokens(row: Embedding) -> NDArray[np.float16]:
    return np.frombuffer(row.tokens, np.float16).reshape(row.grid_h * row.grid_w, -1)
