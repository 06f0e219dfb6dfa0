"""The folder of a training is one process's: two trainings would write the same checkpoint and model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.storage.local import LocalStore
from pipeline.storage.locks import shard_lock


@contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs. Raises HeldError with the owner."""
    with shard_lock(LocalStore(folder), "train", "run"):
        yield
