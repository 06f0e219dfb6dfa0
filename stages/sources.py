"""Finding the input: a folder, a glob, a Parquet of URLs or a WebDataset becomes a list of sources with content keys.

Keys are content hashes, so the same photo has the same key whatever it is called and wherever it lies.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import fsspec
import numpy as np
from PIL import Image

from pipeline.errors import StorageError, UsageError
from pipeline.records import Source
from pipeline.resources import bundled
from pipeline.seeds import digest_of, shard_of
from stages.perceptual_hash import near_groups, phash

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif")
CREDIT_FIELDS = ("title", "author", "licence", "licence_url", "source", "split")
KEY_DIGITS = 24
BUNDLED = "assets:"


@dataclass(frozen=True)
class Found:
    """One input as listed: its address, what credits say of it, and how to read it.

    uri: relative to the source where that is a folder, so that a run does not depend on where the folder lies.
    """

    uri: str
    credits: dict[str, str]
    read: Callable[[], bytes]


def scan(spec: str, shards: int, *, near_bits: int, limit: int, tick: Callable[[], None]) -> list[Source]:
    """All sources of an input, ordered by address, with keys, credits and what each duplicates.

    near_bits: perceptual hashes this close are one picture (0: exact copies only); limit: at most so many (0: all).
    Raises UsageError when the input does not exist or is empty.
    """
    found = sorted(list_inputs(spec), key=lambda item: item.uri)
    found = found[:limit] if limit else found
    if not found:
        raise UsageError(f"no photographs in '{spec}': want files ending in {', '.join(EXTENSIONS)}")

    def look(item: Found) -> tuple[Source, str, int]:
        looked = _look(item, shards)
        tick()
        return looked

    with ThreadPoolExecutor(4) as pool:
        looked = list(pool.map(look, found))
    return _mark_duplicates(looked, near_bits, shards)


def list_inputs(spec: str) -> list[Found]:
    """The inputs that ``spec`` names, unread; raises UsageError when there is no such thing."""
    folder = _folder_of(spec)
    if folder is not None:
        return _from_folder(folder)
    if spec.endswith(".parquet"):
        return _from_parquet(spec)
    if spec.endswith(".tar") or "{" in spec:
        return _from_webdataset(spec)
    pattern = spec if any(mark in spec for mark in "*?[") else spec.rstrip("/") + "/**"
    openers = fsspec.open_files(pattern, "rb")
    return [_from_address(opener.full_name, {}) for opener in openers if _is_photo(opener.path)]


def read_source(spec: str, uri: str) -> bytes:
    """Bytes of one source by the address that ``scan`` gave it; raises OSError."""
    folder = _folder_of(spec)
    if folder is not None:
        try:
            return (folder / uri).read_bytes()
        except OSError:
            _refuse_gone(folder)
            raise
    if "#" in uri:
        return _archive(uri.split("#")[0])[uri]
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


@lru_cache(maxsize=2)
def _archive(spec: str) -> dict[str, bytes]:
    return {found.uri: found.read() for found in _from_webdataset(spec)}


def _is_photo(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _from_folder(folder: Path) -> list[Found]:
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where a parent may not be entered
        raise UsageError(
            f"ingest.source = '{folder}': no such folder, or none that may be entered; "
            "give a folder, glob, .parquet of URLs or .tar"
        )
    credits = _credits(folder / "credits.csv")
    found: list[Found] = []

    def cannot_list(error: OSError) -> None:
        # A folder that cannot be listed gets a row, so that its photographs are not missing in silence.
        found.append(Found(Path(error.filename).relative_to(folder).as_posix(), {}, partial(_fail, error)))

    for home, _, names in os.walk(folder, onerror=cannot_list):
        for path in (Path(home) / name for name in names if _is_photo(name)):
            uri = path.relative_to(folder).as_posix()
            found.append(Found(uri, credits.get(uri, {}), path.read_bytes))
    return found


def _fail(error: OSError) -> bytes:
    raise error


def _credits(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and "file" not in rows[0]:
        raise UsageError(f"'{path}' needs a column 'file'; it has {', '.join(rows[0])}")
    return {row["file"]: {name: row.get(name) or "" for name in CREDIT_FIELDS} for row in rows}


def _from_address(address: str, credits: dict[str, str]) -> Found:
    return Found(address, credits, lambda: read_source("*", address))


def _from_parquet(spec: str) -> list[Found]:
    import pyarrow.parquet as pq

    with fsspec.open(spec, "rb") as file:
        rows = pq.read_table(file).to_pylist()
    column = next((name for name in ("url", "uri", "path") if rows and name in rows[0]), None)
    if column is None:
        raise UsageError(f"'{spec}' needs a column url, uri or path")
    return [_from_address(row[column], {name: str(row.get(name) or "") for name in CREDIT_FIELDS}) for row in rows]


def _from_webdataset(spec: str) -> list[Found]:
    import webdataset as wds

    found: list[Found] = []
    with_dots: list[str] = []
    for sample in wds.WebDataset(spec, shardshuffle=False, empty_check=False):
        credits = {name: "" for name in CREDIT_FIELDS}
        image = next((ext for ext in sample if f".{ext.lower()}" in EXTENSIONS), None)
        with_dots += [f"{sample['__key__']}.{ext}" for ext in sample if "." in ext and _is_photo(ext)]
        if image is not None:
            uri = f"{sample['__url__']}#{sample['__key__']}.{image}"
            found.append(Found(uri, credits, partial(bytes, sample[image])))
    if with_dots:
        raise UsageError(
            f"'{spec}' has '{with_dots[0]}', a key with a dot: WebDataset readers cut a name at its first dot; rename "
            f"{'it' if len(with_dots) == 1 else f'the {len(with_dots)} such members'}"
        )
    return found


def _look(item: Found, shards: int) -> tuple[Source, str, int]:
    """A source, its perceptual hash ("" when it cannot be decoded) and its pixels."""
    credits = {name: item.credits.get(name, "") for name in CREDIT_FIELDS}
    try:
        data = item.read()
    except OSError:
        key = _key_of(f"unreadable {item.uri}".encode())
        return Source(key=key, uri=item.uri, shard=shard_of(key, shards), duplicate_of="", **credits), "", 0
    key = _key_of(data)
    source = Source(key=key, uri=item.uri, shard=shard_of(key, shards), duplicate_of="", **credits)
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
            if size[0] * size[1] > Image.MAX_IMAGE_PIXELS or min(size) < 8:  # type: ignore[operator]
                return source, "", 0
            image.draft("L", (256, 256))
            return source, phash(np.asarray(image.convert("L"))), size[0] * size[1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return source, "", 0


def _key_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:KEY_DIGITS]


def _mark_duplicates(looked: Iterable[tuple[Source, str, int]], near_bits: int, shards: int) -> list[Source]:
    """Exact copies get a key of their own, so that every file has one row; the largest of near ones is the original."""
    sources: list[Source] = []
    originals: dict[str, str] = {}
    hashes: list[tuple[str, str, int]] = []
    for source, code, pixels in looked:
        if source.key in originals:
            key = _key_of(f"copy {source.key} {source.uri}".encode())
            sources.append(replace(source, key=key, shard=shard_of(key, shards), duplicate_of=source.key))
            continue
        originals[source.key] = source.uri
        sources.append(source)
        if code:
            hashes.append((source.key, code, pixels))
    near = near_groups(hashes, near_bits) if near_bits else {}
    return [replace(s, duplicate_of=s.duplicate_of or near.get(s.key, "")) for s in sources]


def digest(sources: list[Source]) -> str:
    """Digest of the list, whatever order it was found in."""
    return digest_of(sorted([s.key, s.uri, s.duplicate_of] for s in sources))
