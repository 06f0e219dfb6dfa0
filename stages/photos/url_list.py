"""A Parquet file of addresses. Every row is checked by ``list_access`` when it is read, and is never more than an address."""

import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import SampleError, StorageError, UsageError
from pipeline.core.escaping import one_line, printable
from pipeline.storage.fsspec_client import call_store, open_filesystem
from stages.photos.credits import CREDIT_FIELDS, checked_credits
from stages.photos.list_access import REFUSED, WEB, ListAccess, protocol_of_row
from stages.photos.local_files import read_regular
from stages.photos.web_reader import read_web

COLUMNS = ("url", "uri", "path")
NO_ADDRESS = "no address in row "
_BROKEN_PARQUET = (pa.ArrowException, OSError, ValueError, OverflowError, EOFError, LookupError)


def rows_of_list(data: bytes, where: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(address, credits) of each row; an address that comes again is left out. A row without one has ``NO_ADDRESS`` and its number.

    Raises UsageError for a file that is no such list.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)  # no thread of Arrow: see parquet.decode_table
        named = file.schema_arrow.names
        column = next((name for name in COLUMNS if name in named), None)
        if column is None:
            raise UsageError(
                f"'{where}' needs a column url, uri or path; it has {printable(', '.join(map(str, named[:20])))}"
            )
        wanted = [column, *(name for name in CREDIT_FIELDS if name in named)]
        rows = file.read(wanted, use_threads=False).to_pylist()
    except _BROKEN_PARQUET as error:
        raise UsageError(f"'{where}' cannot be read as Parquet ({one_line(str(error))[:200]})") from error
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        address = _address(row[column]) or f"{NO_ADDRESS}{number}"
        if address not in seen:
            seen.add(address)
            yield address, checked_credits(row, f"'{where}', row {number}")


def _address(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip() if isinstance(value, str) else ""


def read_row(address: str, access: ListAccess) -> bytes:
    """Bytes behind a row's address. Raises SampleError for what a list may not reach or read, and OSError."""
    if address.startswith(NO_ADDRESS):
        raise SampleError("unreadable", "the row has no address")
    protocol = protocol_of_row(address, access)
    if not protocol:
        data = read_regular(address.removeprefix("file://"), access.max_bytes + 1)
    elif protocol in WEB:
        deadline = time.monotonic() + access.timeout_s
        data = _stored(address, lambda: read_web(address, access, deadline))
    else:
        data = _stored(address, lambda: _object(address, access.max_bytes + 1))
    if len(data) > access.max_bytes:
        raise SampleError(REFUSED, f"the file is larger than {access.max_bytes} bytes (ingest.lists.max_bytes)")
    return data


def _object(address: str, limit: int) -> bytes:
    fs, path = open_filesystem(address)
    return bytes(fs.cat_file(path, start=0, end=limit))


def _stored(address: str, read: Callable[[], bytes]) -> bytes:
    """What a store answers, with retries; that it does not is the fault of this one address, as the others may well be reached."""
    try:
        return call_store(address, read)
    except (StorageError, UsageError) as error:
        raise OSError(str(error)) from error
