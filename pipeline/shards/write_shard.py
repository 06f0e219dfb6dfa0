"""One shard, whole or not at all: hashed as it is written, flushed, renamed, its folder flushed, with its index."""

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.shards.hashing_file import HashedFile
from pipeline.shards.index import ShardIndex
from pipeline.shards.tar_writer import TarWriter
from pipeline.storage.base import storage_errors
from pipeline.storage.local import fsync_folder


def write_shard(tar: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[dict[str, Any], ShardIndex]:
    """Write samples (key, bytes by extension) and give the tar's ``size`` and ``sha256``, and its index.

    The same samples give the same bytes. The file has its name only when all of it is on disk. Raises UsageError for a name that
    breaks the shard rules, StorageError when the disk will not have it.
    """
    aside = tar.with_name(f"{tar.name}.partial.{socket.gethostname()}.{os.getpid()}")
    with storage_errors(str(tar)):
        file = HashedFile(aside)
        try:
            writer = TarWriter(file)
            for key, parts in samples:
                for extension, data in parts.items():
                    writer.add(f"{key}.{extension}", data)
            writer.finish()
            file.sync()
        except BaseException:
            file.close()
            aside.unlink()
            raise
        file.close()
        os.replace(aside, tar)
        fsync_folder(tar.parent)
    about = {"size": writer.offset, "sha256": file.hexdigest()}
    return about, ShardIndex.of(writer.places, writer.offset, str(tar))
