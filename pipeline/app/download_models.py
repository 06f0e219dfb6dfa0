"""Download of what models of a recipe need, from the hub and from the addresses of published files."""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ModelError, ProcropError
from pipeline.core.replace_file import replacing

if TYPE_CHECKING:
    from stages.backends.needed_files import NeededFile

Snapshot = Callable[..., object]
SCHEMES = ("https://", "file://")


def download_all(missing: "Sequence[NeededFile]", snapshot: Snapshot | None = None) -> "Iterator[NeededFile]":
    """Each as soon as it is here. snapshot: fetches a repository of the hub; None: the hub's own client.

    Raises ModelError for one that cannot be downloaded; those before it stay.
    """
    for needed in missing:
        _download(needed, snapshot or _snapshot_of_hub())
        yield needed


def _snapshot_of_hub() -> Snapshot:
    from stages.backends.base.checkpoint_files import SNAPSHOT

    return SNAPSHOT.load()


def _download(needed: "NeededFile", snapshot: Snapshot) -> None:
    from stages.backends.base.checkpoint_files import is_hub_id

    target = Path(needed.model).expanduser()
    try:
        if is_hub_id(needed.model):
            snapshot(needed.model, revision=needed.revision or None, allow_patterns=needed.patterns or None)
        elif needed.source.startswith("hf:"):
            snapshot(needed.source[3:], allow_patterns=[target.name], local_dir=str(target.parent))
        elif needed.source:
            download_file(needed.source, target)
        else:
            raise ModelError(f"{needed.setting}: nothing published has the name '{needed.model}': {needed.problem}")
    except ProcropError:
        raise
    except (OSError, ValueError) as error:  # the hub's own errors are of these classes
        reason = (
            "it needs a login ('hf auth login') or an accepted licence" if _is_refused(error) else "no connection to it"
        )
        raise ModelError(
            f"{needed.setting}: '{needed.model}' was not downloaded: {reason}; by hand: {needed.command()}"
        ) from error


def download_file(address: str, target: Path) -> None:
    """Download a file beside its place, then move it there. Raises OSError."""
    if not address.startswith(SCHEMES):
        raise ModelError(f"'{address}': want an address that starts with {' or '.join(SCHEMES)}")
    with replacing(target) as aside:
        urllib.request.urlretrieve(address, aside)


def _is_refused(error: Exception) -> bool:
    response = getattr(error, "response", error)
    return getattr(response, "status_code", getattr(response, "code", 0)) in (401, 403)
