"""Photographs in tars of WebDataset, on this machine or on a remote file system, read member by member at their offsets.

Tars are opened by this code alone. An address is the tar's, ``#`` and the member's name in it. Headers are walked once, when the
input is listed; the list keeps where each photograph lies. Of what img2dataset writes beside a photograph (``.json``, ``.txt``),
the credits are read (``sidecar_credits.py``).
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from pipeline.core.errors import DamagedDataError, SampleError, UsageError
from pipeline.shards.index import tar_places
from stages.photos.credits import NO_CREDITS
from stages.photos.file_names import EXTENSIONS, is_mac_companion, text_of_name
from stages.photos.local_files import stamp_of_file
from stages.photos.remote_readers import download, is_remote_address, read_remote_range
from stages.photos.sidecar_credits import SIDECARS, sidecar_credits

COPIES = 2  # local copies of remote tars that a process keeps
AGAIN = " (again at byte "
LONGEST_SIDECAR = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file in a tar. name: as text; offset and size: of its bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ArchivedPicture(ArchivedFile):
    """A photograph in a tar. twice: whether an earlier member has this name; sidecars: extension -> what else its sample has."""

    twice: bool = False
    sidecars: Mapping[str, ArchivedFile] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name, with a mark on the second member of one name."""
        return f"{self.name}{AGAIN}{self.offset})" if self.twice else self.name


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
        ArchivedFile(text_of_name(name), offset, size) for name, offset, size in places if not is_mac_companion(name)
    ]
    with_dots = [
        member.name for member in members if _extension(member.name).count(".") > 1 and _is_picture(member.name)
    ]
    if with_dots:
        raise UsageError(
            f"'{tar}' has '{with_dots[0]}', a key with a dot: WebDataset readers cut a name at its first dot; rename "
            f"{'it' if len(with_dots) == 1 else f'the {len(with_dots)} such members'}"
        )
    return _pictures_of_samples(members)


def _pictures_of_samples(members: Sequence[ArchivedFile]) -> Iterator[ArchivedPicture]:
    """The first picture of each sample, that is of members in a row with one key, and further ones whose name was there before."""
    seen: set[str] = set()
    for _, sample in groupby(members, key=lambda member: member.name.removesuffix(_extension(member.name))):
        parts = list(sample)
        sidecars = {_extension(part.name).lower(): part for part in parts if not _is_picture(part.name)}
        pictures = [part for part in parts if _is_picture(part.name)]
        for number, part in enumerate(pictures):
            twice = part.name in seen
            if twice or number == 0:
                yield ArchivedPicture(part.name, part.offset, part.size, twice, sidecars)
            seen.add(part.name)


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
    """The bytes of a photograph as it is listed. Raises SampleError for the second one of a name, OSError."""
    if member.twice:
        raise _again(f"{tar}#{member.label}")
    return read_archived_file(str(_local_copy(tar).path), member)


def read_archived_file(path: str, member: ArchivedFile) -> bytes:
    """The bytes of a member of a tar of this machine. Raises OSError."""
    with open(path, "rb") as file:
        data = os.pread(file.fileno(), member.size, member.offset)
    if len(data) != member.size:
        raise OSError(f"{path} ends within {member.name}")
    return data


def archived_credits(tar: str, picture: ArchivedPicture) -> dict[str, str]:
    """The credits beside a photograph, while the tar is listed; none that cannot be read.

    Raises UsageError for a split that there is none of.
    """
    wanted = {
        name: part for name, part in picture.sidecars.items() if name in SIDECARS and part.size <= LONGEST_SIDECAR
    }
    if not wanted:
        return NO_CREDITS
    path = str(_local_copy(tar).path)
    try:
        texts = {name: read_archived_file(path, part) for name, part in wanted.items()}
    except OSError:
        return NO_CREDITS
    return sidecar_credits(texts, f"'{tar}#{picture.label}'")


def read_archived(uri: str, offset: int, size: int, tars: Set[str]) -> bytes:
    """The bytes behind an address, at the place that the list of input files gives.

    Args:
        uri: of the tar, ``#`` and the name.
        offset: in the tar, in bytes; -1 for a place that is not listed.
        size: in bytes.
        tars: those that the source names.

    Raises SampleError, OSError, UsageError.
    """
    ends = [at for at, letter in enumerate(uri) if letter == "#"]
    tar = next((uri[:at] for at in ends if uri[:at] in tars), None)
    if tar is None:
        raise FileNotFoundError(f"{uri} is not in the source any more")
    if offset < 0:
        if AGAIN in uri:
            raise _again(uri)
        raise UsageError("the list of input files is of an older version: run 'procrop-data ingest' to make it anew")
    if is_remote_address(tar):
        return read_remote_range(tar, offset, size)
    return read_archived_file(tar.removeprefix("file://"), ArchivedFile(uri, offset, size))


def _again(uri: str) -> SampleError:
    return SampleError("duplicate", f"{uri.partition(AGAIN)[0]} is in its tar before, and names are unique in a tar")
