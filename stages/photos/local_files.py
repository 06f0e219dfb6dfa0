"""Photographs in a folder of this machine, and single files of it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import StorageError, UsageError
from stages.photos.file_names import is_picture_name, name_of_text, text_of_name


def stamp_of_file(about: os.stat_result) -> tuple[str, int]:
    """What changes whenever a file does, and when it changed last, in ns.

    The change time is in it, too: copying tools can set the modification time back, not this one.
    """
    changed = max(about.st_mtime_ns, about.st_ctime_ns)
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}", changed


def read_regular(path: str, limit: int = 0) -> bytes:
    """Bytes of a regular file, at most ``limit`` of them (0: all). Raises OSError; a pipe or device is never waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no regular file")
        return file.read(limit or -1)


def walk_folder(folder: Path, closed: dict[str, OSError]) -> list[str]:
    """Names of all photographs under a folder, relative to it, as text, sorted.

    Folders that cannot be listed get a name, too, so that their photographs are not missing in silence; ``closed`` says why.
    """
    root = str(folder)

    def cannot_list(error: OSError) -> None:
        closed[_relative(os.fsdecode(error.filename), root)] = error

    names = [
        _relative(os.path.join(home, name), root)
        for home, _, files in os.walk(root, onerror=cannot_list) for name in files
    ]  # fmt: skip
    return sorted([*filter(is_picture_name, names), *closed])


def _relative(path: str, root: str) -> str:
    return text_of_name(os.path.relpath(path, root).replace(os.sep, "/"))


def read_in_folder(folder: Path, uri: str) -> bytes:
    """Bytes of a photograph by its name in the folder. Raises OSError; StorageError when the whole folder is gone."""
    try:
        return read_regular(os.path.join(folder, name_of_text(uri)))
    except OSError:
        _refuse_gone(folder)
        raise


def _refuse_gone(folder: Path) -> None:
    """Raise StorageError when the whole folder went away, or its disk: that is no fault of the photograph in hand."""
    try:
        gone = not os.listdir(folder)
    except OSError:
        gone = True
    if gone:
        raise StorageError(
            f"the photographs' folder '{folder}' is gone, or its disk was unmounted: bring it back and run the same command "
            "again, what was committed is intact"
        )


def tars_in(folder: Path) -> Iterator[str]:
    """Names of the tars that lie directly in a folder."""
    try:
        return (name for name in sorted(os.listdir(folder)) if name.endswith(".tar"))
    except OSError as error:
        raise UsageError(f"the folder '{folder}' cannot be listed: {error.strerror}") from error
