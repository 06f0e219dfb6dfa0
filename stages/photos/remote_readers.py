"""Photographs on remote file systems: folders, globs and single addresses, through fsspec (docs/storage.md)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pipeline.core.errors import StorageError, UsageError
from pipeline.storage.fsspec_client import call_store, open_filesystem, protocol_of

# How stores call what changes with a file's content, best first.
VERSIONS = ("ETag", "md5Hash", "generation", "mtime", "modificationTime", "LastModified", "updated", "created")
WHOLE_LISTINGS = ("s3", "s3a", "gs", "gcs")  # these list a prefix in one go; others are walked, folder by folder


def is_remote_address(spec: str) -> bool:
    """Whether a source or address is a URL of another machine's file system."""
    return protocol_of(spec) not in ("", "file", "local")


def list_folder(url: str) -> list[tuple[str, str, int]]:
    """(path relative to the folder, stamp, when it changed in ns or 0) of every file under a remote folder, by path.

    Raises StorageError; a folder that is not there has no files.
    """
    fs, root = open_filesystem(url)
    how = {} if protocol_of(url) in WHOLE_LISTINGS else {"on_error": "raise"}  # else what cannot be listed is left out
    try:
        entries: dict[str, Any] = call_store(url, lambda: fs.find(root, detail=True, **how))
    except FileNotFoundError:
        return []
    start = root.strip("/")
    rows = [
        (name.strip("/").removeprefix(start).lstrip("/"), *_stamp(about))
        for name, about in entries.items() if about.get("type") != "directory"
    ]  # fmt: skip
    return sorted(rows)


def _stamp(about: dict[str, Any]) -> tuple[str, int]:
    version = next((str(about[name]) for name in VERSIONS if about.get(name)), "")
    changed = next((about[name] for name in ("mtime", "LastModified", "modificationTime") if about.get(name)), 0)
    if isinstance(changed, datetime):
        changed = changed.timestamp() * 1000
    return (f"{about.get('size')} {version}" if version else ""), int(float(changed) * 1_000_000)


def list_glob(pattern: str) -> list[str]:
    """Addresses that match a pattern on a remote file system. Raises StorageError."""
    fs, root = open_filesystem(pattern)
    base = pattern.removesuffix(root) if pattern.endswith(root) else ""
    names: list[str] = call_store(pattern, lambda: fs.glob(root))
    return sorted(f"{base}{name}" if base or is_remote_address(name) else fs.unstrip_protocol(name) for name in names)


def read_file(folder: str, uri: str) -> bytes:
    """Bytes of a file in a remote folder. Raises FileNotFoundError; StorageError when the store itself is at fault."""
    fs, path = open_filesystem(f"{folder.rstrip('/')}/{uri}")
    return call_store(f"{folder}/{uri}", lambda: bytes(fs.cat_file(path)))


def read_remote_range(url: str, offset: int, size: int) -> bytes:
    """Some bytes of a remote file. Raises OSError, StorageError when the store itself is at fault."""
    fs, path = open_filesystem(url)
    data = call_store(url, lambda: bytes(fs.cat_file(path, start=offset, end=offset + size)))
    if len(data) != size:
        raise OSError(f"{url} ends before byte {offset + size}")
    return data


def read_address(address: str) -> bytes:
    """Bytes of a file by its own address, one of a list whose others may well be reached. Raises OSError alone."""
    try:
        fs, path = open_filesystem(address)
        return call_store(address, lambda: bytes(fs.cat_file(path)))
    except StorageError as error:
        raise OSError(str(error)) from error


def download(url: str, to: str) -> None:
    """Put a copy of a remote file at a path of this machine. Raises OSError, StorageError."""
    fs, path = open_filesystem(url)
    call_store(url, lambda: fs.get_file(path, to))


def expand_braces(spec: str) -> Iterator[str]:
    """``shard-{000..003}.tar`` written out."""
    from braceexpand import braceexpand

    try:
        yield from braceexpand(spec)
    except ValueError as error:
        raise UsageError(f"'{spec}': {error}") from error
