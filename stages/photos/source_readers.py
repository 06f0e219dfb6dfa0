"""Finding the input: what a folder, a glob, a Parquet of URLs or a WebDataset holds, and how each of it is read.

Only the source itself, which the user named, decides how an address is read: never what is written in the address.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path

from pipeline.core.errors import StorageError, UsageError
from pipeline.core.resources import bundled
from stages.photos.archive_reader import archived_credits, pictures_of, read_archived, read_archived_picture, stamp_of
from stages.photos.credits import CREDITS_FILE, NO_CREDITS, parse_credits
from stages.photos.file_names import is_picture_name, name_of_text, text_of_name
from stages.photos.list_access import DEFAULT_ACCESS, ListAccess
from stages.photos.local_files import read_in_folder, read_regular, stamp_of_file, tars_in, walk_folder
from stages.photos.remote_readers import (
    expand_braces,
    is_remote_address,
    list_folder,
    list_glob,
    read_address,
    read_file,
)
from stages.photos.url_list import read_row, rows_of_list

BUNDLED = "assets:"
FILE = "file://"
MARKS = "*?[{"


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input as listed: its address, what credits say of it, and how to read it.

    uri: relative to the source where that is a folder, so that a run does not depend on where the folder lies. read: raises
    OSError, or SampleError with a reject word. stamp: changes whenever the file does, "" where that is not known;
    changed_ns: when that was, by the file's clock. offset, size: where it lies in its tar, as in ``Source``.
    """

    uri: str
    credits: dict[str, str]
    read: Callable[[], bytes]
    stamp: str = ""
    changed_ns: int = 0
    offset: int = -1
    size: int = 0


class SourceKind(Enum):
    """LIST: a Parquet of addresses. TARS: of a WebDataset. FILES: single files or globs."""

    FOLDER = "folder"
    REMOTE_FOLDER = "remote folder"
    LIST = "list"
    TARS = "tars"
    FILES = "files"


def source_kind(spec: str) -> SourceKind:
    """The kind of a source. A folder that exists is a folder, whatever characters are in its name."""
    remote = is_remote_address(spec)
    if spec.startswith(BUNDLED) or (not remote and os.path.isdir(_local(spec))):
        return SourceKind.FOLDER
    if spec.endswith(".parquet"):
        return SourceKind.LIST
    if spec.endswith(".tar"):
        return SourceKind.TARS
    if any(mark in spec for mark in MARKS) or is_picture_name(spec) or (not remote and os.path.isfile(_local(spec))):
        return SourceKind.FILES
    return SourceKind.REMOTE_FOLDER if remote else SourceKind.FOLDER


def _local(spec: str) -> str:
    """The path of this machine that a source is."""
    if spec.startswith(BUNDLED):
        return str(bundled("assets") / spec.removeprefix(BUNDLED))
    return os.path.expanduser(spec.removeprefix(FILE))


def _named_files(spec: str) -> list[str]:
    """Paths of this machine, or URLs, that a source names by braces and wildcards. Raises UsageError when one is missing."""
    remote = is_remote_address(spec)
    path = spec if remote else _local(spec)
    if not remote and os.path.isfile(path):
        return [path]
    found: dict[str, None] = {}
    missing = []
    for part in expand_braces(path) if "{" in path else [path]:
        names = _remote_matches(part) if remote else _matches(part)
        found |= dict.fromkeys(names)
        missing += [] if names else [part]
    if missing and ("{" in path or not any(mark in path for mark in MARKS)):
        count = f"{len(missing)} of these files are" if len(missing) > 1 else "a file is"
        raise UsageError(f"'{spec}': {count} not there: '{missing[0]}'")
    if not found:
        raise UsageError(f"'{spec}': nothing is there that matches")
    return list(found)


def _remote_matches(spec: str) -> list[str]:
    return list_glob(spec) if any(mark in spec for mark in "*?[") else [spec]


def _matches(path: str) -> list[str]:
    return [path] if os.path.isfile(path) else sorted(filter(os.path.isfile, glob.iglob(path, recursive=True)))


def list_inputs(spec: str, access: ListAccess = DEFAULT_ACCESS) -> Iterator[InputFile]:
    """The inputs that ``spec`` names, unread, by address; raises UsageError when there is no such thing.

    access: what rows of a list may reach.
    """
    if source_kind(spec) is SourceKind.FOLDER:
        return _from_folder(Path(_local(spec)))
    if source_kind(spec) is SourceKind.TARS:
        tars = sorted(_named_files(spec), key=lambda tar: f"{tar}#")
        return (item for tar in tars for item in _from_tar(tar))
    return iter(sorted(_from_elsewhere(spec, access), key=lambda item: item.uri))


def _from_elsewhere(spec: str, access: ListAccess) -> Iterable[InputFile]:
    kind = source_kind(spec)
    if kind is SourceKind.LIST:
        name = spec if is_remote_address(spec) else _local(spec)
        rows = rows_of_list(_read_named(name), name)
        return [InputFile(address, credits, partial(read_row, address, access)) for address, credits in rows]
    if kind is SourceKind.REMOTE_FOLDER:
        return _from_remote_folder(spec)
    names = _named_files(spec)
    return [_named_file(name) for name in names if is_picture_name(name)]


def read_source(spec: str, uri: str, access: ListAccess = DEFAULT_ACCESS, *, place: tuple[int, int] = (-1, 0)) -> bytes:
    """Bytes of one source by the address that ``list_inputs`` gave it. place: offset and size in its tar.

    Raises OSError, SampleError with a reject word, and StorageError when all of them are gone.
    """
    kind = source_kind(spec)
    if kind is SourceKind.FOLDER:
        return read_in_folder(Path(_local(spec)), uri)
    if kind is SourceKind.LIST:
        return read_row(uri, access)
    if kind is SourceKind.REMOTE_FOLDER:
        return read_file(spec, uri)
    if kind is SourceKind.TARS:
        return _read_from_tars(spec, uri, place)
    if is_remote_address(uri):
        return read_address(uri)
    if not uri.startswith(FILE):
        raise StorageError(f"the photographs' folder '{spec}' is gone: bring it back and run the same command again")
    return read_regular(name_of_text(uri.removeprefix(FILE)))


@lru_cache(maxsize=4)
def _tars(spec: str) -> frozenset[str]:
    return frozenset(_named_files(spec))


def _read_from_tars(spec: str, uri: str, place: tuple[int, int]) -> bytes:
    try:
        return read_archived(uri, *place, _tars(spec))
    except FileNotFoundError:
        _tars.cache_clear()  # tars may have come since
        return read_archived(uri, *place, _tars(spec))


def _read_named(name: str) -> bytes:
    """Bytes of a file that the user named."""
    try:
        return read_file(*name.rsplit("/", 1)) if is_remote_address(name) else read_regular(name)
    except FileNotFoundError as error:
        raise UsageError(f"'{name}': no such file") from error
    except OSError as error:
        raise UsageError(f"'{name}' cannot be read: {error.strerror or error}") from error


def _from_folder(folder: Path) -> Iterator[InputFile]:
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where a parent may not be entered
        raise UsageError(
            f"ingest.source = '{folder}': no such folder, or none that may be entered; "
            "give a folder, glob, .parquet of URLs or .tar"
        )
    path = folder / CREDITS_FILE
    credits = parse_credits(_read_named(str(path)), str(path)) if path.is_file() else {}
    closed: dict[str, OSError] = {}
    names = walk_folder(folder, closed)
    if not names and (tars := list(tars_in(folder))):
        raise UsageError(f"'{folder}' has no photographs but {len(tars)} tars: for those write '{folder}/*.tar'")
    return (_in_folder(folder, uri, credits.get(uri, NO_CREDITS), closed.get(uri)) for uri in names)


def _in_folder(folder: Path, uri: str, credits: dict[str, str], closed: OSError | None) -> InputFile:
    if closed is not None:
        return InputFile(uri, NO_CREDITS, partial(_fail, closed))
    try:
        stamp, changed = stamp_of_file(os.stat(os.path.join(folder, name_of_text(uri))))
    except OSError as error:
        return InputFile(uri, credits, partial(_fail, error))
    return InputFile(uri, credits, partial(read_in_folder, folder, uri), stamp, changed)


def _fail(error: OSError) -> bytes:
    raise error


def _from_remote_folder(url: str) -> list[InputFile]:
    files = list_folder(url)
    if not files:
        raise UsageError(f"ingest.source = '{url}': nothing is there; is it the folder's URL?")
    has_credits = any(uri == CREDITS_FILE for uri, _, _ in files)
    credits = parse_credits(read_file(url, CREDITS_FILE), f"{url}/{CREDITS_FILE}") if has_credits else {}
    return [
        InputFile(uri, credits.get(uri, NO_CREDITS), partial(read_file, url, uri), stamp, changed)
        for uri, stamp, changed in files if is_picture_name(uri)
    ]  # fmt: skip


def _named_file(name: str) -> InputFile:
    if is_remote_address(name):
        return InputFile(name, NO_CREDITS, partial(read_address, name))
    path = os.path.abspath(name)
    return InputFile(f"{FILE}{text_of_name(path)}", NO_CREDITS, partial(read_regular, path))


def _from_tar(tar: str) -> Iterator[InputFile]:
    stamp, changed = stamp_of(tar)
    for member in sorted(pictures_of(tar), key=lambda picture: picture.label):
        mark, place = (
            f"{stamp} {member.offset}" if stamp else "",
            (-1, 0) if member.twice else (member.offset, member.size),
        )
        read = partial(read_archived_picture, tar, member)
        yield InputFile(f"{tar}#{member.label}", archived_credits(tar, member), read, mark, changed, *place)
