"""Samples of shards made ready by worker processes, in an order that does not depend on how many there are, and resumable."""

import io
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pipeline.core.errors import DamagedDataError
from pipeline.shards.dataset import ShardSample, ShardSet
from pipeline.shards.epoch_order import Feed

T = TypeVar("T")


class SampleLoader(Generic[T]):
    """One epoch of batches a ``for``: each the list of ``make(sample)`` of its samples. workers: 0 for this process.

    ``feed.state_dict()`` between two batches goes on with the next one in another loader, with any number of workers; call
    ``feed.end_epoch()`` after an epoch. ``make`` and the samples travel to the workers, so they must pickle.
    """

    def __init__(self, samples: ShardSet, feed: Feed, make: Callable[[ShardSample], T], *, workers: int = 0) -> None:
        self._part = _Part(samples, feed, make)
        self._feed = feed
        self._workers = workers

    def __iter__(self) -> Iterator[list[T]]:
        for made in DataLoader(self._part, batch_size=None, num_workers=self._workers, collate_fn=_as_made):
            self._feed.step += 1
            yield made


def _as_made(batch: list[Any]) -> list[Any]:
    """torch's own would turn arrays into tensors."""
    return batch


class _Part(IterableDataset[Any]):
    """What one worker makes: every W-th batch, which the loader collects in turn."""

    def __init__(self, samples: ShardSet, feed: Feed, make: Callable[[ShardSample], Any]) -> None:
        self._samples, self._feed, self._make = samples, feed, make

    def __iter__(self) -> Iterator[list[Any]]:
        info = get_worker_info()
        place = (info.id, info.num_workers) if info is not None else (0, 1)
        for batch in self._feed.of_worker(*place):
            yield [self._make(self._samples[position]) for position in batch]


def decode_small(data: bytes, side: int, detail: int = 1) -> NDArray[np.uint8]:
    """A picture's bytes -> uint8 [h, w, 3] with a long side of ``side``, smaller than a full decode and as good as needed.

    A JPEG is decoded at the least of 1, 1/2, 1/4 and 1/8 of its size that has ``detail * side`` pixels: the inverse DCT of fewer
    coefficients, which skips most of the work. ``detail`` 2 leaves a resize by at least 2 and with it nearly the pixels of a full
    decode (BENCHMARKS.md has both). Raises DamagedDataError when the bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            scale = side / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            drafted = image.draft("RGB", (detail * size[0], detail * size[1]))
            picture = image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DamagedDataError(f"a picture does not decode: {error}") from error
    # The last row and column of a scaled decode may stand for less than a pixel; ``box`` is what the whole picture covers.
    box = drafted[1] if drafted is not None else (0, 0, *picture.size)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))
