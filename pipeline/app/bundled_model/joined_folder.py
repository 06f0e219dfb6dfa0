"""Several folders of photographs as one: links to the files, and one ``credits.csv``."""

import csv
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.app.bundled_model.photo_folders import FolderPhotograph
from pipeline.core.errors import UsageError
from pipeline.storage.base import storage_errors
from stages.photos.credits import CREDIT_FIELDS, CREDITS_FILE
from stages.photos.file_names import is_picture_name, name_of_text, text_of_name

UNFINISHED = ".joining.partial"


def join_photographs(named: Mapping[str, FolderPhotograph], folder: Path) -> None:
    """Make ``folder`` hold exactly these photographs, and their credits in ``credits.csv``; a second call changes nothing.

    Files are symbolic links, or copies where the file system has no links. Links and copies of an earlier call that are not
    wanted any more are removed.

    Args:
        named: photographs by their names in the folder, as text (``joined_names``).
        folder: created if missing.

    Raises UsageError, and changes nothing, if the folder holds a picture or a folder that no earlier call put there; and for a
    photograph that can be neither linked nor copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _listed(folder / CREDITS_FILE)
    for entry in _strangers(named, folder, before):
        raise UsageError(
            f"'{folder}' holds '{text_of_name(entry)}', which this command did not put there: move it away"
        )
    (folder / UNFINISHED).unlink(missing_ok=True)
    for entry in os.listdir(folder):
        if is_picture_name(entry) and text_of_name(entry) not in named:
            os.unlink(folder / entry)
    for name, photograph in named.items():
        _put(photograph.path, folder / name_of_text(name))
    _write_aside(folder / CREDITS_FILE, credits_table(named))


def credits_table(named: Mapping[str, FolderPhotograph]) -> bytes:
    """A ``credits.csv`` with a row for each photograph, in the order of their names."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, ["file", *CREDIT_FIELDS], restval="", lineterminator="\n")
    table.writeheader()
    for name, photograph in sorted(named.items()):
        table.writerow({"file": name, **photograph.credits})
    return text.getvalue().encode()


def _listed(table: Path) -> set[str]:
    """Names of the photographs that an earlier call put into the folder."""
    if not table.is_file():
        return set()
    with table.open(encoding="utf-8", newline="") as file:
        return {row["file"] for row in csv.DictReader(file)}


def _strangers(named: Mapping[str, FolderPhotograph], folder: Path, before: set[str]) -> Iterator[str]:
    for entry in sorted(os.listdir(folder)):
        path, name = folder / entry, text_of_name(entry)
        if path.is_symlink() or name in before:
            continue
        if path.is_dir() or (is_picture_name(entry) and not (name in named and _is_copy(named[name].path, path))):
            yield entry


def _put(source: Path, target: Path) -> None:
    if target.is_symlink() and os.readlink(target) == str(source):
        return
    if not target.is_symlink() and _is_copy(source, target):
        return
    unfinished = target.with_name(UNFINISHED)
    try:
        os.symlink(source, unfinished)
    except OSError:
        _copy(source, unfinished)
    os.replace(unfinished, target)


def _is_copy(source: Path, target: Path) -> bool:
    """Whether a copy is there already: of the same size and time."""
    try:
        theirs, ours = source.stat(), target.stat()
    except OSError:
        return False
    return (theirs.st_size, theirs.st_mtime_ns) == (ours.st_size, ours.st_mtime_ns)


def _copy(source: Path, target: Path) -> None:
    try:
        with storage_errors(str(target.parent)):
            shutil.copy2(source, target)
    except OSError as error:
        raise UsageError(f"'{source}' can be neither linked nor copied: {error.strerror or error}") from error


def _write_aside(path: Path, data: bytes) -> None:
    unfinished = path.with_name(UNFINISHED)
    unfinished.write_bytes(data)
    os.replace(unfinished, path)
