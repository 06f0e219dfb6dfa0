"""Finding the input: what a folder, a glob, a Parquet of URLs or a WebDataset holds, and how each of it is read."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fsspec

from pipeline.core.errors import StorageError, UsageError
from pipeline.core.resources import bundled
from stages.photos.remote_readers import is_remote_address, list_folder, list_glob, read_address, read_file
from stages.photos.webdataset_reader import archive, pictures_in

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif")
CREDIT_FIELDS = ("title", "author", "licence", "licence_url", "source", "split")
BUNDLED = "assets:"
CREDITS_FILE = "credits.csv"


NO_CREDITS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input as listed: its address, what credits say of it, and how to read it.

    uri: relative to the source where that is a folder, so that a run does not depend on where the folder lies.
    stamp: changes whenever the file does, "" where that is not known; changed_ns: when that was, by the file's clock.
    """

    uri: str
    credits: dict[str, str]
    read: Callable[[], bytes]
    stamp: str = ""
    changed_ns: int = 0


def list_inputs(spec: str) -> Iterator[InputFile]:
    """The inputs that ``spec`` names, unread, by address; raises UsageError when there is no such thing."""
    folder = _folder_of(spec)
    if folder is not None:
        return _from_folder(folder)
    return iter(sorted(_from_elsewhere(spec), key=lambda item: item.uri))


def _from_elsewhere(spec: str) -> Iterable[InputFile]:
    if spec.endswith(".parquet"):
        return _from_parquet(spec)
    if spec.endswith(".tar") or "{" in spec:
        return _from_webdataset(spec)
    if _is_remote_folder(spec):
        return _from_remote_folder(spec)
    if is_remote_address(spec):
        return [_from_address(address, {}) for address in list_glob(spec) if _is_photo(address)]
    openers = fsspec.open_files(spec, "rb")
    return [_from_address(opener.full_name, {}) for opener in openers if _is_photo(opener.path)]


def read_source(spec: str, uri: str) -> bytes:
    """Bytes of one source by the address that ``scan`` gave it; raises OSError, and StorageError when all of them are gone."""
    folder = _folder_of(spec)
    if folder is not None:
        try:
            return (folder / uri).read_bytes()
        except OSError:
            _refuse_gone(folder)
            raise
    if "#" in uri:
        return archive(uri.split("#")[0], EXTENSIONS)[uri]
    if _is_remote_folder(spec):
        return read_file(spec, uri)
    if is_remote_address(uri):
        return read_address(uri)
    with fsspec.open(uri, "rb") as file:
        data: bytes = file.read()
    return data


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


def _folder_of(spec: str) -> Path | None:
    """The local folder that a source is, or None when it is of another kind."""
    if spec.startswith(BUNDLED):
        return bundled("assets") / spec.removeprefix(BUNDLED)
    if "://" in spec or spec.endswith((".parquet", ".tar")) or any(mark in spec for mark in "*?[{"):
        return None
    return Path(spec)


def _is_remote_folder(spec: str) -> bool:
    """A folder elsewhere is treated as one here is: addresses relative to it, credits in its ``credits.csv``."""
    return (
        is_remote_address(spec) and not spec.endswith((".parquet", ".tar")) and not any(mark in spec for mark in "*?[{")
    )


def _is_photo(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _from_folder(folder: Path) -> Iterator[InputFile]:
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where a parent may not be entered
        raise UsageError(
            f"ingest.source = '{folder}': no such folder, or none that may be entered; "
            "give a folder, glob, .parquet of URLs or .tar"
        )
    credits = _credits(folder / CREDITS_FILE)
    closed: dict[str, OSError] = {}
    root = str(folder)

    def cannot_list(error: OSError) -> None:
        # A folder that cannot be listed gets a row, so that its photographs are not missing in silence.
        closed[Path(error.filename).relative_to(folder).as_posix()] = error

    names = [
        os.path.relpath(os.path.join(home, name), root).replace(os.sep, "/")
        for home, _, files in os.walk(root, onerror=cannot_list) for name in files if _is_photo(name)
    ]  # fmt: skip
    names += closed
    names.sort()
    return (_in_folder(root, uri, credits, closed) for uri in names)


def _in_folder(root: str, uri: str, credits: dict[str, dict[str, str]], closed: dict[str, OSError]) -> InputFile:
    if uri in closed:
        return InputFile(uri, NO_CREDITS, partial(_fail, closed[uri]))
    path = os.path.join(root, uri)
    try:
        about = os.stat(path)
    except OSError as error:
        return InputFile(uri, credits.get(uri, NO_CREDITS), partial(_fail, error))
    # The change time too: copying tools can set the modification time back, not this one.
    stamp = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
    read = partial(_read, path)
    return InputFile(uri, credits.get(uri, NO_CREDITS), read, stamp, max(about.st_mtime_ns, about.st_ctime_ns))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _fail(error: OSError) -> bytes:
    raise error


def _from_remote_folder(url: str) -> list[InputFile]:
    files = list_folder(url)
    if not files:
        raise UsageError(f"ingest.source = '{url}': nothing is there; is it the folder's URL?")
    credits = (
        _parse_credits(read_file(url, CREDITS_FILE).decode(), f"{url}/{CREDITS_FILE}") if _has_credits(files) else {}
    )
    return [
        InputFile(uri, credits.get(uri, NO_CREDITS), partial(read_file, url, uri), stamp, changed)
        for uri, stamp, changed in files if _is_photo(uri)
    ]  # fmt: skip


def _has_credits(files: list[tuple[str, str, int]]) -> bool:
    return any(uri == CREDITS_FILE for uri, _, _ in files)


def _credits(path: Path) -> dict[str, dict[str, str]]:
    return _parse_credits(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else {}


def _parse_credits(text: str, where: str) -> dict[str, dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if rows and "file" not in rows[0]:
        raise UsageError(f"'{where}' needs a column 'file'; it has {', '.join(rows[0])}")
    return {row["file"]: {name: row.get(name) or "" for name in CREDIT_FIELDS} for row in rows}


def _from_address(address: str, credits: dict[str, str]) -> InputFile:
    return InputFile(address, credits, lambda: read_source("*", address))


def _from_parquet(spec: str) -> list[InputFile]:
    import pyarrow.parquet as pq

    data = (
        read_file(*spec.rsplit("/", 1)) if is_remote_address(spec) else Path(spec.removeprefix("file://")).read_bytes()
    )
    rows = pq.ParquetFile(io.BytesIO(data)).read(use_threads=False).to_pylist()
    column = next((name for name in ("url", "uri", "path") if rows and name in rows[0]), None)
    if column is None:
        raise UsageError(f"'{spec}' needs a column url, uri or path")
    return [_from_address(row[column], {name: str(row.get(name) or "") for name in CREDIT_FIELDS}) for row in rows]


def _from_webdataset(spec: str) -> list[InputFile]:
    return [InputFile(uri, dict(NO_CREDITS), partial(bytes, data)) for uri, data in pictures_in(spec, EXTENSIONS)]
