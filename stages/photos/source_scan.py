"""The list of a run's input: every file with its content key, its work shard, its credits and what it is a copy of.

Kept as Arrow tables, not objects: a million files are some hundred megabytes then, not gigabytes.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline.core.errors import SampleError, UsageError
from pipeline.core.pictures import MOST_PIXELS, RAW, PictureError, decoder_errors, why_unsupported, with_end_mark
from pipeline.core.records import PLACE_OF_SOURCE, Source
from pipeline.core.seeds import shard_of
from pipeline.shards import parquet
from stages.photos.credits import CREDIT_FIELDS
from stages.photos.file_names import EXTENSIONS
from stages.photos.list_access import DEFAULT_ACCESS, ListAccess
from stages.photos.perceptual_hash import near_originals, phash
from stages.photos.source_readers import InputFile, list_inputs

KEY_DIGITS = 24
BATCH = 512
THREADS = 4
SOURCES = pa.schema([(f.name, parquet.arrow_type(f.type)) for f in fields(Source)])
STATED = pa.schema([field for field in SOURCES if field.name in (*CREDIT_FIELDS, *PLACE_OF_SOURCE)])
SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class ScannedFile:
    """What reading one input file gave.

    stamp: of the file then, "" when it may still change; phash: "" when it cannot be decoded; pixels: width x height, or 0.
    """

    uri: str
    stamp: str
    key: str
    phash: str = ""
    pixels: int = 0


SCANNED_FILES = pa.schema([(f.name, parquet.arrow_type(f.type)) for f in fields(ScannedFile)])


@dataclass(frozen=True)
class SourceList:
    """sources: rows of ``Source`` by shard and key. files: ``ScannedFile`` rows by address, for the next scan."""

    sources: pa.Table
    files: pa.Table

    def __len__(self) -> int:
        return int(self.sources.num_rows)

    def __iter__(self) -> Iterator[Source]:
        return (Source(**row) for batch in self.sources.to_batches(BATCH) for row in batch.to_pylist())

    def photographs(self) -> Iterator[Source]:
        """The sources that can be decoded and are no copies."""
        bad = set(self.files.filter(pc.equal(self.files["pixels"], 0))["uri"].to_pylist())
        return (source for source in self if not source.duplicate_of and source.uri not in bad)

    def with_splits(self, splits: Mapping[str, str]) -> "SourceList":
        """The same with the splits of some sources, by key."""
        if not splits:
            return self
        columns = {name: self.sources[name] for name in SOURCES.names}
        pairs = zip(columns["key"].to_pylist(), columns["split"].to_pylist(), strict=True)
        columns["split"] = pa.array([splits.get(key, split) for key, split in pairs], pa.string())
        return replace(self, sources=pa.table(columns, schema=SOURCES))

    @property
    def digest(self) -> str:
        """Hash of all rows, whatever order they were found in."""
        return digest_of_rows(self.sources)


def scan_sources(  # noqa: PLR0913 - each is a setting of ingest
    spec: str,
    shards: int,
    *,
    near_bits: int,
    limit: int,
    tick: Callable[[], None],
    known: pa.Table | None = None,
    access: ListAccess = DEFAULT_ACCESS,
) -> SourceList:
    """All sources of an input, with keys, credits and what each duplicates.

    near_bits: perceptual hashes this close are one picture (0: exact copies only); limit: at most so many, by address (0:
    all); known: ``files`` of an earlier scan, so that unchanged files are not read again; access: what rows of a list may reach.
    Raises UsageError when the input does not exist or is empty.
    """
    inputs, earlier = islice(list_inputs(spec, access), limit or None), _EarlierScan(known)
    scanned, stated = [], []
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(inputs, BATCH)):
            old = [earlier.unchanged(item) for item in batch]
            new = iter(pool.map(scan_file, [item for item, file in zip(batch, old, strict=True) if file is None]))
            rows = []
            for file in old:
                rows.append(vars(file or next(new)))
                tick()
            scanned.append(pa.Table.from_pylist(rows, schema=SCANNED_FILES))
            stated.append(pa.Table.from_pylist([_stated(item) for item in batch], schema=STATED))
    if not scanned:
        raise UsageError(
            f"no photographs in '{spec}': want files ending in {', '.join(e for e in EXTENSIONS if e not in RAW)}"
        )
    table = pa.concat_tables(scanned)
    return SourceList(_sources(table, pa.concat_tables(stated), near_bits, shards), table)


def _stated(item: InputFile) -> dict[str, object]:
    """What the source itself says of a file: its credits, and where it lies in a tar."""
    return {**{name: item.credits.get(name, "") for name in CREDIT_FIELDS}, "offset": item.offset, "size": item.size}


class _EarlierScan:
    """Files of an earlier scan, given one by one as the same addresses come again in order."""

    def __init__(self, files: pa.Table | None) -> None:
        batches = files.to_batches(BATCH) if files is not None else []
        self._files = (ScannedFile(**row) for batch in batches for row in batch.to_pylist())
        self._next = next(self._files, None)

    def unchanged(self, item: InputFile) -> ScannedFile | None:
        """The earlier result for an input that has not changed since, else None."""
        while self._next is not None and self._next.uri < item.uri:
            self._next = next(self._files, None)
        file = self._next
        same = file is not None and file.uri == item.uri and item.stamp and file.stamp == item.stamp
        return file if same else None


def scan_file(item: InputFile) -> ScannedFile:
    """Read an input; what cannot be read or decoded has no hash."""
    if why_unsupported(item.uri):
        return ScannedFile(item.uri, "", photo_key(f"unreadable {item.uri}".encode()))
    try:
        data = item.read()
    except (OSError, SampleError):
        return ScannedFile(item.uri, "", photo_key(f"unreadable {item.uri}".encode()))
    # A file that was written a moment ago may change again within the resolution of its timestamp: it is read again next time.
    settled = time.time_ns() - item.changed_ns > SETTLED_NS
    blank = ScannedFile(item.uri, item.stamp if settled else "", photo_key(data))
    try:
        return _hashed(blank, data)
    except PictureError as error:
        mended = with_end_mark(data) if error.reason == "truncated" else None
    except OSError:
        return blank
    return blank if mended is None else _hashed(blank, mended)


def _hashed(blank: ScannedFile, data: bytes) -> ScannedFile:
    """The file with its perceptual hash, unless it has very many or very few pixels. Raises OSError."""
    with decoder_errors(), Image.open(io.BytesIO(data)) as image:
        size = image.size
        if (size[0] * size[1] > MOST_PIXELS and image.format != "JPEG") or min(size) < 8:
            return blank
        image.draft("L", (256, 256))
        return replace(blank, phash=phash(np.asarray(image.convert("L"))), pixels=size[0] * size[1])


def photo_key(data: bytes) -> str:
    """The key of a photograph, from the bytes of its file."""
    return hashlib.sha256(data).hexdigest()[:KEY_DIGITS]


def _sources(files: pa.Table, stated: pa.Table, near_bits: int, shards: int) -> pa.Table:
    """Exact copies get a key of their own, so that every file has one row; the largest of near ones is the original."""
    width = f"S{KEY_DIGITS}"
    keys = np.concatenate([np.frombuffer(part.buffers()[2], width, len(part)) for part in files["key"].chunks])
    copy_of = np.zeros_like(keys)
    _, first = np.unique(keys, return_index=True)
    copies = np.setdiff1d(np.arange(len(keys)), first)
    copy_of[copies] = keys[copies]
    for row in copies.tolist():
        keys[row] = photo_key(f"copy {keys[row].decode()} {files['uri'][row].as_py()}".encode())
    if near_bits:
        hashed = np.flatnonzero((pc.binary_length(files["phash"]).to_numpy() > 0) & (copy_of == b""))
        codes = np.array([int(files["phash"][row].as_py(), 16) for row in hashed.tolist()], np.uint64)
        originals = near_originals(keys[hashed], codes, files["pixels"].to_numpy()[hashed], near_bits)
        near = originals != np.arange(len(hashed))
        copy_of[hashed[near]] = keys[hashed[originals[near]]]
    columns = {
        "key": pa.array(keys).cast(pa.string()),
        "uri": files["uri"],
        "shard": pa.array(shard_of(key.decode(), shards) for key in keys),
        "duplicate_of": pa.array(copy_of).cast(pa.string()),
        **{name: stated[name] for name in STATED.names},
    }
    table = pa.table([columns[name] for name in SOURCES.names], schema=SOURCES)
    return table.take(pc.sort_indices(table, [("shard", "ascending"), ("key", "ascending")]))


def digest_of_rows(sources: pa.Table) -> str:
    """sha256 over rows of ``SOURCES`` in order of shard and key. Places are in it only where the input is of tars."""
    state = hashlib.sha256()
    in_tars = "offset" in sources.column_names and pc.any(pc.greater_equal(sources["offset"], 0)).as_py()
    names = [name for name in SOURCES.names if in_tars or name not in PLACE_OF_SOURCE]
    for batch in sources.to_batches(BATCH):
        for row in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
            state.update("\x00".join([*map(str, row), "\n"]).encode("utf-8", "surrogateescape"))
    return state.hexdigest()
