"""From the URL of a run directory to its store."""

from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.storage.base import Store
from pipeline.storage.fsspec_client import HADOOP, S3, protocol_of
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import HadoopStore, RemoteStore
from pipeline.storage.s3 import S3Store


def open_store(url: str) -> Store:
    """The store of a path or fsspec URL (``work``, ``s3://bucket/run``); raises UsageError for one that cannot be reached."""
    if "://" in url and not url.startswith("file://"):
        return remote_store(url)
    return LocalStore(Path(url.removeprefix("file://")))


def remote_store(url: str) -> "RemoteStore":
    """The store of a URL. Raises UsageError for one that cannot be reached from here; no request is made yet."""
    if protocol_of(url) == "hdfs":
        raise UsageError(
            f"'{url}' cannot be a run directory: Arrow has no way to create a file there only where there is none, so two "
            "processes could commit one shard; use webhdfs:// (photographs may be read from hdfs://)"
        )
    kind = {**dict.fromkeys(S3, S3Store), **dict.fromkeys(HADOOP, HadoopStore)}.get(protocol_of(url), RemoteStore)
    return kind(url)
