"""Crop a folder of any store into any store, with the executors of the pipeline: many photographs, and restarts."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.app.crop_files.crop_photos import CropRequest
from pipeline.app.crop_files.entries import PhotoRecord
from pipeline.core.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from pipeline.app.progress import Display
    from pipeline.app.session import Session
    from pipeline.runs.receipts import Receipt
    from pipeline.storage.base import Store

RUN = "_crop_run"  # below --out: receipts, tables and the list of photographs
A_SHARD, MOST_SHARDS = 64, 10_000  # photographs of a shard, about; shards


@dataclass(frozen=True)
class FolderRequest:
    """A folder to crop, and where.

    Args:
        crop: how; ``photos`` is one folder, glob, tar or list, of this machine or a URL, and ``out`` a folder or URL.
        executor: ``local``, ``ray`` or ``array``.
        address: address of the Ray cluster; empty: start one on this machine.
        workers: worker processes; 0: one a core.
        retry_failed: photographs that failed are tried again.
    """

    crop: CropRequest
    executor: str = "local"
    address: str = ""
    workers: int = 0
    retry_failed: bool = False

    def should_retry(self, receipt: "Receipt") -> bool:
        """Whether a finished shard has failed photographs that are to be tried again."""
        return bool(self.retry_failed and receipt.n_failed)


@dataclass(frozen=True)
class FolderReport:
    """What a command did.

    Args:
        photos, failed: how many there are, and how many of them have no crops.
        fresh: how many shards this command did.
        waits_for: why an array task ended early; empty if it did not.
        entries: gives the result of each photograph.
    """

    photos: int
    failed: int
    fresh: int
    waits_for: str
    entries: Iterator[PhotoRecord]


def is_for_folders(crop: CropRequest, executor: str) -> bool:
    """Whether a request needs the executors or a remote store."""
    return bool(executor) or any("://" in name for name in (*crop.photos, crop.out))


def crop_folder(request: FolderRequest, display: "Display") -> FolderReport:
    """Crop the folder. Raises UsageError for options that cannot be used here, RefusedError for crops by other options."""
    from pipeline.app.execute import ExecutionRequest, execute, require_executor
    from pipeline.engine.runner import Options

    crop = _usable(request.crop)
    session = _open(crop)
    execution = ExecutionRequest(
        [stage.name for stage in session.stages], request.executor, request.address, request.workers
    )
    options = Options(retry=request.should_retry, accept_change=crop.again)
    require_executor(execution, options)
    try:
        done = execute(session, execution, options, display)
    except RefusedError as error:
        raise RefusedError(
            str(error).replace("--accept-change", "--again").replace("another --work", "another --out")
        ) from error
    receipts = [receipt for result in done.results for receipt in result.receipts]
    return FolderReport(
        sum(receipt.n_in for receipt in receipts),
        sum(sum(receipt.n_failed.values()) for receipt in receipts),
        sum(result.done_now for result in done.results),
        done.waits_for,
        _entries(session),
    )


def _usable(crop: CropRequest) -> CropRequest:
    """The request with defaults resolved. Raises UsageError for what only folders of this machine have."""
    unusable = {"--keep-file": crop.keep_file, "--no-save": not crop.save, "several folders": len(crop.photos) > 1}
    for what, given in unusable.items():
        if given:
            raise UsageError(f"{what} cannot be used with --executor or a remote folder: crop one folder at a time")
    return replace(crop, explain_entries=False)


def _open(crop: CropRequest) -> "Session":
    from pipeline.app.crop_folders.crop_stage import NAME, CropStage
    from pipeline.app.session import Session
    from pipeline.runs.plan import Plan, freeze_plan, load_plan
    from pipeline.runs.run_directory import Run
    from pipeline.storage.open_store import open_store
    from stages.photos.source_readers import list_inputs
    from stages.recipe import Recipe

    store = open_store(f"{crop.out.rstrip('/')}/{RUN}")
    old = load_plan(store)
    if old is None:
        _refuse_foreign(crop, open_store(crop.out))
    count = 0 if old else sum(1 for _ in list_inputs(crop.photos[0]))
    shards = old.work_shards if old else min(MOST_SHARDS, max(1, math.ceil(count / A_SHARD)))
    recipe = Recipe(name=NAME, work_shards=shards)
    plan = freeze_plan(store, Plan(NAME, 0, shards, recipe.model_dump(mode="json")))
    return Session(recipe, Run(store, plan), [CropStage(crop, shards)])


def _refuse_foreign(crop: CropRequest, out: "Store") -> None:
    """Files that this command did not write are never replaced unasked."""
    if not crop.overwrite and out.names(""):
        raise UsageError(
            f"--out '{crop.out}' is not empty: choose a new folder, or --overwrite files of the same names"
        )


def _entries(session: "Session") -> Iterator[PhotoRecord]:
    tables = session.run.tables()
    for stage in session.stages:
        for shard in tables.shards(stage.name):
            for row in tables.columns(stage.name, shard, ["entry"]).to_pylist():
                yield json.loads(row["entry"])
