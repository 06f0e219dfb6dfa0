"""From the URL of a run directory to its store."""

from pathlib import Path

from pipeline.storage.base import Store
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import remote_store


def open_store(url: str) -> Store:
    """The store of a path or fsspec URL (``work``, ``s3://bucket/run``); raises UsageError for one that cannot be reached."""
    if "://" in url and not url.startswith("file://"):
        return remote_store(url)
    return LocalStore(Path(url.removeprefix("file://")))
