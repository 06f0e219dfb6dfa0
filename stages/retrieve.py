"""Retrieve: for each canvas the k compositionally most similar professional photographs, never its own.

The database holds the photos of the train split but for those that ``build`` left out as near others or near a test set; the
index and its parameters go to ``retrieve/shared``.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.records import CANVAS, PHOTO, Neighbours
from pipeline.core.release_memory import give_back
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Tables, Task
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.retrieval.entries import Reference
from procrop_model.retrieval.writer import NearDuplicates, ReferenceWriter
from stages.backends.base.protocols import Encoder
from stages.near_duplicates.build_leak_report import LEAKS

LEAKS_FILE = f"build/{LEAKS}"
CREDITS = ("phash", "title", "author", "licence", "source")


class RetrieveSettings(Settings):
    """k: references a canvas. A reference is left out when it is the canvas's own photo or nearly so: cosine to that photo
    at or above ``max_cosine``, or perceptual hashes at most ``near_bits`` apart. index: of the search; auto is flat, and
    exact, up to a million photos, and IVF beyond.
    """

    k: int = Field(10, ge=1, le=100)
    max_cosine: float = Field(0.985, gt=0, le=1)
    near_bits: int = Field(6, ge=0, le=32)
    index: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    micro_batch: int = Field(256, ge=1)


class Retrieve(Stage):
    """See the module."""

    name = "retrieve"
    version = 3
    upstream = ("ingest", "embed")
    reads_shared = (LEAKS_FILE,)
    record = Neighbours
    prologue_needed = True

    def __init__(
        self, settings: RetrieveSettings, encoder: Encoder, encoder_settings: Mapping[str, Any] | None = None
    ) -> None:
        """encoder_settings: what builds the encoder again; a cropper needs it for new images."""
        self._settings = settings
        self._encoder = encoder
        self._described = dict(encoder_settings or {})
        self.micro_batch = settings.micro_batch
        self._database: ReferenceDatabase | None = None

    def settings(self) -> dict[str, Any]:
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
                table = tables.columns("embed", shard, ["kind", "split", "vector", "tokens", "grid_h", "grid_w"])
                wanted = pc.and_(pc.equal(table["kind"], PHOTO), pc.equal(table["split"], "train"))
                rows = [row for row in table.filter(wanted).to_pylist() if row["key"] not in leaks]
                photos = {row["key"]: row for row in tables.rows("ingest", shard, CREDITS)}
                if rows:
                    writer.add(
                        np.stack([np.frombuffer(row["vector"], np.float16) for row in rows]),
                        np.stack([_tokens(row) for row in rows]),
                        [_reference(row["key"], photos[row["key"]]) for row in rows],
                    )
            names = writer.close()
            del writer
            give_back()  # the vectors of all photographs
            for name in names:
                yield name, Path(folder) / name

    def tasks(self, shard: Shard) -> list[Task]:
        photos = {row["key"]: row for row in shard.rows("ingest")}
        rows = shard.rows("embed")
        own = {row["key"]: _vector(row) for row in rows if row["kind"] == PHOTO}
        return [
            Task(
                row["key"],
                {
                    "photo": row["photo"],
                    "vector": _vector(row),
                    "own": own[row["photo"]],
                    "phash": photos[row["photo"]]["phash"],
                },
            )
            for row in rows
            if row["kind"] == CANVAS
        ]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        database = self._open(shard)
        payloads = [task.payload for task in tasks]
        found = database.search(
            np.stack([p["vector"] for p in payloads]),
            self._settings.k,
            exclude=[{p["photo"]} for p in payloads],
            parents=np.stack([p["own"] for p in payloads]),
            parent_phashes=[p["phash"] for p in payloads],
        )
        return [
            Outcome.kept(Neighbours(task.key, task.payload["photo"], hits.keys, hits.similarities))
            for task, hits in zip(tasks, found, strict=True)
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


def _reference(key: str, photo: dict[str, Any]) -> Reference:
    return Reference(key=key, photo=key, **{name: photo[name] for name in CREDITS})


def _vector(row: dict[str, Any]) -> NDArray[np.float32]:
    return np.frombuffer(row["vector"], np.float16).astype(np.float32)


def _tokens(row: dict[str, Any]) -> NDArray[np.float16]:
    return np.frombuffer(row["tokens"], np.float16).reshape(row["grid_h"] * row["grid_w"], -1)
