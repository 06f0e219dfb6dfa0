"""Writes one shard atomically: hashed while it is written, flushed, renamed; gives its index."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from pipeline.core.replace_file import replacing
from pipeline.shards.hashing_file import HashedFile
from pipeline.shards.index import ShardIndex
from pipeline.shards.tar_writer import TarWriter
from pipeline.storage.base import FileInfo, storage_errors
from pipeline.storage.local import fsync_folder


def write_shard(tar: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[FileInfo, ShardIndex]:
    """Write samples as a tar; gives its size and sha256, and its index. The same samples give the same bytes.

    Args:
        tar: path of the file; it exists only when all of it is on disk.
        samples: key and bytes by extension of each.

    Raises UsageError for a name that breaks the shard rules, StorageError when the disk is full or lost.
    """
    with storage_errors(str(tar)):
        with replacing(tar) as aside, closing(HashedFile(aside)) as file:
            writer = TarWriter(file)
            for key, parts in samples:
                for extension, data in parts.items():
                    writer.add(f"{key}.{extension}", data)
            writer.finish()
            file.sync()
        fsync_folder(tar.parent)
    info: FileInfo = {"size": writer.offset, "sha256": file.hexdigest()}
    return info, ShardIndex.of(writer.places, writer.offset, str(tar))
