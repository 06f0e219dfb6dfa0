"""Photographs in tars of WebDataset, on this machine or on a remote file system, read member by member at their offsets.

Tars are opened by this code alone. An address is the tar's, ``#`` and the member's name in it.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.core.errors import DamagedDataError, SampleError, UsageError
from pipeline.shards.index import tar_places
from stages.photos.file_names import EXTENSIONS, is_mac_companion, text_of_name
from stages.photos.local_files import stamp_of_file
from stages.photos.remote_readers import download, is_remote_address

COPIES = 2  # local copies of remote tars that a process keeps


@dataclass(frozen=True, slots=True)
class ArchivedPicture:
    """A photograph in a tar. name: as text; offset and size: of its bytes; twice: whether an earlier member has this name."""

    name: str
    offset: int
    size: int
    twice: bool = False

    @property
    def label(self) -> str:
        """The name, with a mark on the second member of one name."""
        return f"{self.name} (again at byte {self.offset})" if self.twice else self.name


class _LocalCopy:
    """A tar on this machine: the file itself, or a copy of a remote one, which goes when nobody reads it any more."""

    def __init__(self, tar: str) -> None:
        if not is_remote_address(tar):
            self.path = Path(tar.removeprefix("file://"))
            return
        folder = tempfile.mkdtemp(prefix="procrop-tar-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = Path(folder) / "shard.tar"
        try:
            download(tar, str(self.path))
        except OSError as error:
            raise UsageError(f"the tar '{tar}' cannot be read: {error}") from error


@lru_cache(maxsize=COPIES)
def _local_copy(tar: str) -> _LocalCopy:
    return _LocalCopy(tar)


def pictures_of(tar: str) -> Iterator[ArchivedPicture]:
    """The first picture of every sample of a tar. Raises UsageError for one that is gone or damaged, and for keys with dots."""
    path = _local_copy(tar).path
    try:
        places, _ = tar_places(path)
    except DamagedDataError as error:
        raise UsageError(
            f"{str(error).replace(str(path), tar)}; copy it again, or leave it out of the source"
        ) from error
    except OSError as error:
        raise UsageError(f"the tar '{tar}' cannot be read: {error.strerror or error}") from error
    members = [
        ArchivedPicture(text_of_name(name), offset, size) for name, offset, size in places if not is_mac_companion(name)
    ]
    with_dots = [
        member.name for member in members if _extension(member.name).count(".") > 1 and _is_picture(member.name)
    ]
    if with_dots:
        raise UsageError(
            f"'{tar}' has '{with_dots[0]}', a key with a dot: WebDataset readers cut a name at its first dot; rename "
            f"{'it' if len(with_dots) == 1 else f'the {len(with_dots)} such members'}"
        )
    return _first_of_samples(members)


def _first_of_samples(members: Sequence[ArchivedPicture]) -> Iterator[ArchivedPicture]:
    seen: set[str] = set()
    last = ""
    for member in members:
        key = member.name.removesuffix(_extension(member.name))
        if not _is_picture(member.name):
            last = last if key == last else ""
        elif member.name in seen:
            yield ArchivedPicture(member.name, member.offset, member.size, twice=True)
        elif key != last:
            seen.add(member.name)
            last = key
            yield member


def _extension(name: str) -> str:
    """From the first dot of the file's name on."""
    base = name.rsplit("/", 1)[-1]
    return base[base.find(".") :] if "." in base else ""


def _is_picture(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def stamp_of(tar: str) -> tuple[str, int]:
    """What changes whenever a tar of this machine does, and when that was (ns); nothing for a remote one."""
    if is_remote_address(tar):
        return "", 0
    try:
        return stamp_of_file(os.stat(tar.removeprefix("file://")))
    except OSError:
        return "", 0


def read_archived_picture(tar: str, member: ArchivedPicture) -> bytes:
    """The bytes of a photograph. Raises SampleError for the second one of a name, OSError."""
    if member.twice:
        raise SampleError("duplicate", f"{member.name} is in {tar} before, and names are unique in a tar")
    with open(_local_copy(tar).path, "rb") as file:
        data = os.pread(file.fileno(), member.size, member.offset)
    if len(data) != member.size:
        raise OSError(f"{tar} ends within {member.name}")
    return data


@lru_cache(maxsize=COPIES)
def _members(tar: str, stamp: str) -> dict[str, ArchivedPicture]:
    return {member.label: member for member in pictures_of(tar)}


def read_archived(uri: str, tars: Sequence[str]) -> bytes:
    """The bytes behind an address. tars: those that the source names. Raises SampleError, OSError, UsageError."""
    tar = next((tar for tar in tars if uri.startswith(f"{tar}#")), None)
    member = _members(tar, stamp_of(tar)[0]).get(uri.removeprefix(f"{tar}#")) if tar is not None else None
    if tar is None or member is None:
        raise FileNotFoundError(f"{uri} is not in the source any more")
    return read_archived_picture(tar, member)
