"""Local copies of a remote run's committed files, which training and evaluation read many times.

Files are stored by sha256, and each state of a run is a folder of hard links to them: a run that has grown fetches only new files,
and a folder that a training reads never changes.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.core.errors import DamagedDataError
from pipeline.core.replace_file import replacing
from pipeline.core.seeds import digest_of
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run, step_receipt_path
from pipeline.storage.base import FileInfo, storage_errors

CHUNK = 16 << 20  # bytes of one request
AT_ONCE = 4  # downloads in parallel
STATE = ("build", "retrieve")  # a state of a run is named by the receipts of these stages


def cache_folder() -> Path:
    """``PROCROP_CACHE``, or ``procrop-data`` in the user's cache folder."""
    given = os.environ.get("PROCROP_CACHE", "")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "procrop-data"


def fetch(run: Run, stages: Sequence[str] = STATE, progress: Callable[[int], None] = lambda size: None) -> Path:
    """A local folder with every file that the receipts of ``stages`` name.

    Args:
        run: on a remote store.
        stages: whose files are needed.
        progress: is called with the number of bytes downloaded since its last call.

    Raises DamagedDataError when a file differs from its receipt, StorageError when the disk is full.
    """
    receipts = {name: _receipts(run, name) for name in {*STATE, *stages}}
    cache = cache_folder()
    state = (
        cache / "runs" / digest_of([run.store.url, [[r.output_digest for r in receipts[name]] for name in STATE]])[:16]
    )
    outputs = [item for name in stages for receipt in receipts[name] for item in receipt.outputs.items()]

    def provide(item: tuple[str, FileInfo]) -> None:
        path, info = item
        cached = cache / "files" / info["sha256"][:2] / info["sha256"]
        if not cached.is_file():
            _download(run, path, info, cached, progress)
        _link(cached, state / path)

    with storage_errors(str(cache)), ThreadPoolExecutor(AT_ONCE) as pool:
        state.mkdir(parents=True, exist_ok=True)
        list(pool.map(provide, outputs))
    return state


def _receipts(run: Run, stage: str) -> list[Receipt]:
    steps = [run.receipt_at(step_receipt_path(stage, step)) for step in ("prologue", "epilogue")]
    return [*run.receipts(stage), *(receipt for receipt in steps if receipt is not None)]


def _link(cached: Path, to: Path) -> None:
    if to.is_file() and to.samefile(cached):
        return
    with replacing(to) as aside:
        os.link(cached, aside)


def _download(run: Run, path: str, info: FileInfo, cached: Path, progress: Callable[[int], None]) -> None:
    digest = hashlib.sha256()
    try:
        with replacing(cached) as aside, open(aside, "wb") as file:
            for start in range(0, info["size"], CHUNK):
                data = run.store.read_range(path, start, min(CHUNK, info["size"] - start))
                digest.update(data)
                file.write(data)
                progress(len(data))
            if digest.hexdigest() != info["sha256"]:
                raise DamagedDataError(
                    f"'{run.store.url}/{path}' is not what its receipt says: see 'procrop-data verify'"
                )
    except FileNotFoundError as error:
        raise DamagedDataError(f"'{run.store.url}/{path}' is gone: see 'procrop-data verify'") from error
