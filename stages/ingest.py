"""Ingest: input files become upright sRGB photographs with credits, or a reject with its word."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from pipeline.core.errors import SampleError
from pipeline.core.json_types import JsonObject
from pipeline.core.pictures import MOST_PIXELS, why_unsupported
from pipeline.core.records import Photo, Source
from pipeline.core.settings import Settings
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.photos.decode import PhotoLimits, decode_photo, encode_jpeg
from stages.photos.list_access import ListAccess
from stages.photos.perceptual_hash import phash
from stages.photos.source_readers import read_source
from stages.photos.source_scan import photo_key
from stages.photos.split_assignment import split_of

Split = Literal["train", "val", "test"]
LEAST_LONG_SIDE = 64


class IngestSettings(Settings):
    """What is read, and which photographs are accepted.

    Args:
        source: folder, glob, .parquet of URLs, WebDataset .tar, or ``assets:photos`` (the bundled ones).
        limit: number of files, at most; 0 for all.
        min_side: least length of the shorter side, in pixels.
        max_side: largest length of the longer side, in pixels.
        max_pixels: largest area, in pixels; checked before decoding, to limit memory. Beyond the default, a JPEG is decoded at a
            part of its size; other formats take 4 bytes a pixel in each worker.
        max_aspect: largest ratio of the longer to the shorter side.
        long_side: larger photos are reduced to this length, in pixels, before they are stored, 64 at least; 0 for never.
        splits: share of each split, by hash, of the photos that the credits table assigns to none; a split without any gets one.
        lists: what the rows of a .parquet of URLs may reach, and how much is read of one.
        near_duplicate_bits: perceptual hashes that differ in at most so many bits are one picture; 0 for exact copies only.
    """

    source: str = "assets:photos"
    limit: int = Field(0, ge=0)
    lists: ListAccess = ListAccess()
    min_side: int = Field(200, ge=8)
    max_side: int = Field(16384, ge=64)
    max_pixels: int = Field(MOST_PIXELS, ge=4096)
    max_aspect: float = Field(4.0, ge=1)
    long_side: int = Field(2048, ge=0)
    splits: dict[Split, Annotated[float, Field(ge=0)]] = Field({"train": 0.9, "val": 0.05, "test": 0.05}, min_length=1)
    near_duplicate_bits: int = Field(6, ge=0, le=16)

    @model_validator(mode="after")
    def _sensible(self) -> "IngestSettings":
        if 0 < self.long_side < LEAST_LONG_SIDE:
            raise ValueError(f"long_side {self.long_side}: give 0 (never reduced) or at least {LEAST_LONG_SIDE} pixels")
        if not sum(self.splits.values()):
            raise ValueError("splits: all shares are 0; give at least one of train, val and test a share")
        return self


class Ingest(Stage[Source]):
    """Decodes and checks one input file a task; a file that needs no change is stored as it is, byte for byte."""

    name = "ingest"
    version = 3  # 2: profiles by their numbers; 3: a JPEG without its end mark is read
    upstream = ("sources",)
    record = Photo
    reasons = (
        "unreadable", "truncated", "too_small", "too_large", "too_long", "bomb", "bad_mode", "animated", "duplicate",
        "refused", "unsupported",
    )  # fmt: skip
    extensions = ("jpg",)
    micro_batch = 8

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._limits = PhotoLimits(
            settings.min_side, settings.max_side, settings.max_pixels, settings.max_aspect, settings.long_side
        )

    def settings(self) -> JsonObject:
        # Which files there are is the input, not the recipe: adding photos must not refuse the run.
        return self._settings.model_dump(exclude={"source", "limit", "lists"})

    def tasks(self, shard: Shard) -> list[Task[Source]]:
        return [Task(source.key, source) for source in shard.rows("sources", Source)]

    def run(self, tasks: Sequence[Task[Source]], shard: Shard) -> list[Outcome]:
        return [self._one(task, shard) for task in tasks]

    def _one(self, task: Task[Source], shard: Shard) -> Outcome:
        source = task.payload
        if source.duplicate_of:
            return Outcome.rejected(task.key, "duplicate", f"{source.uri}: same picture as {source.duplicate_of}")
        if why := why_unsupported(source.uri):
            return Outcome.rejected(task.key, "unsupported", f"{source.uri}: {why}")
        try:
            data = read_source(
                self._settings.source, source.uri, self._settings.lists, place=(source.offset, source.size)
            )
            if photo_key(data) != source.key:  # its key is what the list, the shards and the seeds know it by
                return Outcome.failed(
                    task.key, SampleError("changed", f"{source.uri} is not what was listed: run again")
                )
            decoded = decode_photo(data, self._limits)
        except SampleError as error:
            return Outcome.rejected(task.key, error.reason, f"{source.uri}: {error}")
        except OSError as error:
            return Outcome.rejected(task.key, "unreadable", f"{source.uri}: {error.strerror or error}")
        image = self._fit(decoded.image)
        reencoded = not decoded.untouched or image is not decoded.image
        photo = self._photo(source, image, reencoded, shard.run_seed)
        return Outcome.kept(photo, {"jpg": encode_jpeg(image) if reencoded else data})

    def _fit(self, image: Image.Image) -> Image.Image:
        limit = self._settings.long_side
        if not limit or max(image.size) <= limit:
            return image
        smaller = image.copy()
        smaller.thumbnail((limit, limit), Image.Resampling.LANCZOS)
        return smaller

    def _photo(self, source: Source, image: Image.Image, reencoded: bool, run_seed: int) -> Photo:
        return Photo(
            key=source.key,
            uri=source.uri,
            width=image.width,
            height=image.height,
            phash=phash(np.asarray(image.convert("L"))),
            reencoded=reencoded,
            split=source.split or split_of(source.key, {str(k): v for k, v in self._settings.splits.items()}, run_seed),
            title=source.title,
            author=source.author,
            licence=source.licence,
            licence_url=source.licence_url,
            source=source.source,
        )
