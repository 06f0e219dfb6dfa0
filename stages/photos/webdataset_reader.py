"""Photographs in WebDataset tars, on this machine or on a remote file system."""

import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError
from stages.photos.remote_readers import download, expand_braces, is_remote_address

# (address, bytes): an address is the tar's, '#', and the member's name in it.
Members = list[tuple[str, bytes]]


def pictures_in(spec: str, extensions: tuple[str, ...]) -> Members:
    """The first picture of every sample of the tars that ``spec`` names. Raises UsageError for keys with dots."""
    members: Members = []
    with_dots: list[str] = []
    for sample in _samples(spec):
        image = next((ext for ext in sample if f".{ext.lower()}" in extensions), None)
        with_dots += [f"{sample['__key__']}.{ext}" for ext in sample if "." in ext and ext.lower().endswith(extensions)]
        if image is not None:
            members.append((f"{sample['__url__']}#{sample['__key__']}.{image}", bytes(sample[image])))
    if with_dots:
        raise UsageError(
            f"'{spec}' has '{with_dots[0]}', a key with a dot: WebDataset readers cut a name at its first dot; rename "
            f"{'it' if len(with_dots) == 1 else f'the {len(with_dots)} such members'}"
        )
    return members


@lru_cache(maxsize=2)
def archive(tar: str, extensions: tuple[str, ...]) -> dict[str, bytes]:
    """Pictures of one tar by address, kept while the next ones of it are wanted."""
    return dict(pictures_in(tar, extensions))


def _samples(spec: str) -> Iterator[dict[str, Any]]:
    import webdataset as wds

    if not is_remote_address(spec):
        yield from wds.WebDataset(spec, shardshuffle=False, empty_check=False)
        return
    # webdataset itself would start curl or a vendor's program a tar, without our patience.
    for url in expand_braces(spec):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "shard.tar"
            download(url, str(place))
            with open(place, "rb") as stream:
                yield from wds.tariterators.group_by_keys(
                    wds.tariterators.tar_file_expander([{"url": url, "stream": stream}])
                )
