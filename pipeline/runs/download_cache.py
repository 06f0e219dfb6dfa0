"""Committed files of a remote run, copied to this machine once: what training and evaluation read again and again.

Files are kept by their sha256, and each state of a run is a folder of links to them: a run that grew fetches what is new, and a
folder that a training reads never changes under it.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.core.errors import DamagedDataError
from pipeline.core.seeds import digest_of
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run, step_receipt_path
from pipeline.storage.base import storage_errors

PIECE = 16 << 20
AT_ONCE = 4
STATE = ("build", "retrieve")  # stages that a state of a run is named by


def cache_folder() -> Path:
    """``PROCROP_CACHE``, or ``procrop-data`` in the user's cache folder."""
    given = os.environ.get("PROCROP_CACHE", "")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "procrop-data"


def fetch(run: Run, stages: Sequence[str] = STATE, progress: Callable[[int], None] = lambda size: None) -> Path:
    """A folder of this machine that holds all that the receipts of ``stages`` name; progress(n): n more bytes came.

    Raises DamagedDataError for bytes that are not what a receipt says, StorageError.
    """
    receipts = {name: _receipts(run, name) for name in {*STATE, *stages}}
    cache = cache_folder()
    state = (
        cache / "runs" / digest_of([run.store.url, [[r.output_digest for r in receipts[name]] for name in STATE]])[:16]
    )
    wanted = [item for name in stages for receipt in receipts[name] for item in receipt.outputs.items()]

    def bring(item: tuple[str, dict[str, Any]]) -> None:
        path, about = item
        kept = cache / "files" / about["sha256"][:2] / about["sha256"]
        if not kept.is_file():
            _download(run, path, about, kept, progress)
        _link(kept, state / path)

    with storage_errors(str(cache)), ThreadPoolExecutor(AT_ONCE) as pool:
        state.mkdir(parents=True, exist_ok=True)
        list(pool.map(bring, wanted))
    return state


def _receipts(run: Run, stage: str) -> list[Receipt]:
    steps = [run.receipt_at(step_receipt_path(stage, step)) for step in ("prologue", "epilogue")]
    return [*run.receipts(stage), *(receipt for receipt in steps if receipt is not None)]


def _link(kept: Path, to: Path) -> None:
    if to.is_file() and to.samefile(kept):
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    aside = to.with_name(f"{to.name}.partial.{os.getpid()}")
    aside.unlink(missing_ok=True)
    os.link(kept, aside)
    os.replace(aside, to)


def _download(run: Run, path: str, about: dict[str, Any], kept: Path, progress: Callable[[int], None]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    aside = kept.with_name(f"{kept.name}.partial.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with open(aside, "wb") as file:
            for start in range(0, about["size"], PIECE):
                data = run.store.read_range(path, start, min(PIECE, about["size"] - start))
                digest.update(data)
                file.write(data)
                progress(len(data))
        if digest.hexdigest() != about["sha256"]:
            raise DamagedDataError(f"'{run.store.url}/{path}' is not what its receipt says: see 'procrop-data verify'")
        os.replace(aside, kept)
    except FileNotFoundError as error:
        raise DamagedDataError(f"'{run.store.url}/{path}' is gone: see 'procrop-data verify'") from error
    finally:
        aside.unlink(missing_ok=True)
