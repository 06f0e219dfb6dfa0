"""The photographs of a folder with their credits, and a name for each where several folders become one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled
from stages.photos.credits import CREDITS_FILE, NO_CREDITS, parse_credits
from stages.photos.file_names import is_picture_name, name_of_text, text_of_name
from stages.photos.local_files import read_regular, walk_folder
from stages.photos.source_readers import BUNDLED

LONGEST = 240  # bytes of a name: file systems allow 255, and a number comes before it


@dataclass(frozen=True)
class FolderPhotograph:
    """A file of a folder. uri: its path in the folder, as text; path: on this machine; credits: by ``CREDIT_FIELDS``."""

    uri: str
    path: Path
    credits: Mapping[str, str]


def local_photo_folder(spec: str) -> Path:
    """The folder of this machine that ``spec`` names: a path, or ``assets:photos`` for the bundled photographs."""
    if spec.startswith(BUNDLED):
        return bundled("assets") / spec.removeprefix(BUNDLED)
    return Path(spec).expanduser()


def photographs_in(spec: str) -> list[FolderPhotograph]:
    """All photographs under a folder, ordered by their path in it.

    Raises UsageError for a folder that cannot be read, has no photographs, or has a ``credits.csv`` that is no such table.
    """
    folder = local_photo_folder(spec)
    if not os.path.isdir(folder):
        raise UsageError(f"--photos '{spec}': no such folder, or none that may be entered")
    closed: dict[str, OSError] = {}
    uris = walk_folder(folder, closed)
    for uri, error in closed.items():
        raise UsageError(f"--photos '{spec}': '{folder / name_of_text(uri)}' cannot be listed: {error.strerror}")
    if not uris:
        raise UsageError(f"--photos '{spec}': no photographs are in it")
    credits = _credits_of(folder)
    home = os.path.abspath(folder)
    return [FolderPhotograph(uri, Path(home, name_of_text(uri)), credits.get(uri, NO_CREDITS)) for uri in uris]


def _credits_of(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / CREDITS_FILE
    try:
        return parse_credits(read_regular(str(path)), str(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror or error}") from error


def joined_names(photographs: Iterable[FolderPhotograph]) -> dict[str, FolderPhotograph]:
    """The photographs by the names, as text, that they have in one folder without sub-folders.

    ``sub/a.jpg`` becomes ``sub-a.jpg``. The first photograph of a name keeps it, the next ones are ``2-a.jpg``, ``3-a.jpg``
    and so on. Upper and lower case count as equal, because some file systems do not distinguish them.
    """
    named: dict[str, FolderPhotograph] = {}
    taken: set[str] = set()
    for photograph in photographs:
        name = _free_name(_flat(photograph.uri), taken)
        taken.add(name.casefold())
        named[name] = photograph
    return named


def _free_name(flat: str, taken: set[str]) -> str:
    name = flat
    for number in count(2):
        # A sub-folder may be called "._x": a file of such a name would not be read as a photograph.
        if name.casefold() not in taken and is_picture_name(name):
            break
        name = f"{number}-{flat}"
    return name


def _flat(uri: str) -> str:
    name = os.fsencode(name_of_text(uri.replace("/", "-")))
    return text_of_name(os.fsdecode(name[-LONGEST:]))
