"""A stage's prologue and epilogue: work over all shards, done once and committed with a receipt as a shard is."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from pipeline.core.errors import MissingUpstreamError, RefusedError
from pipeline.core.release_memory import give_back
from pipeline.core.seeds import digest_of
from pipeline.core.stage import Stage, verb_of
from pipeline.engine.completion import receipt_holds
from pipeline.engine.environment_digest import census
from pipeline.runs.final_shard_diff import MANIFEST, encode_manifest, manifest_of
from pipeline.runs.publish import Publisher
from pipeline.runs.receipts import Receipt, difference
from pipeline.runs.run_directory import Run, digest_of_shards, recipe_of, step_receipt_path
from pipeline.shards import parquet
from pipeline.storage.base import FileInfo, describe
from pipeline.storage.locks import Lock, shard_lock

Files = Iterable[tuple[str, bytes | Path]]


def run_prologue(stage: Stage, run: Run, upstream_shards: dict[str, int]) -> None:
    """Make a stage's shared files unless they are there; raises MissingUpstreamError, RefusedError as a shard would."""
    inputs = {
        name: digest_of_shards(_all_of(run, name, count, stage.name), stage.columns_read(name))
        for name, count in upstream_shards.items()
    }
    inputs |= {path: run.shared_digest(path, stage.name) for path in stage.reads_shared}
    inputs |= stage.outside()
    _once(stage, run, "prologue", inputs, lambda: _under(stage, stage.prologue(run.tables(stage))))


def run_epilogue(stage: Stage, run: Run, shards: int) -> None:
    """Make the files that close a stage (a card, checksums) unless they are there."""
    _once(
        stage,
        run,
        "epilogue",
        {stage.name: digest_of([receipt.output_digest for receipt in _all_of(run, stage.name, shards, stage.name)])},
        lambda: chain(stage.epilogue(run.tables()), _manifest(stage, run)),
    )


def _manifest(stage: Stage, run: Run) -> Iterator[tuple[str, bytes]]:
    """What the next run compares its shards with. Work shards keep their names, so only a stage that regroups needs it."""
    if stage.regroups:
        yield f"{stage.name}/{MANIFEST}", encode_manifest(manifest_of(stage, run))


def _under(stage: Stage, files: Files) -> Iterator[tuple[str, bytes | Path]]:
    return ((f"{stage.name}/shared/{name}", data) for name, data in files)


def _all_of(run: Run, stage: str, shards: int, wanted_by: str) -> list[Receipt]:
    """Receipts of all shards of a stage. Raises MissingUpstreamError."""
    receipts = run.receipts(stage)
    if len(receipts) < shards:
        raise MissingUpstreamError(
            f"{wanted_by} needs all of {stage}: {len(receipts)} of {shards} shards are done; "
            f"run 'procrop-data {verb_of(stage)}' first, or add --with-upstream"
        )
    return receipts


def _once(stage: Stage, run: Run, step: str, inputs: dict[str, str], make: Callable[[], Files]) -> None:
    if _is_made(stage, run, step, inputs):
        return
    with shard_lock(run.store, stage.name, step) as lock:
        if not _is_made(stage, run, step, inputs):  # another run may have done it while we waited
            _do(stage, run, step, inputs, make, lock)
    give_back()


def _is_made(stage: Stage, run: Run, step: str, inputs: dict[str, str]) -> bool:
    """Whether a step is done. Raises RefusedError when another recipe made it."""
    old = run.receipt_at(step_receipt_path(stage.name, step))
    if old is None:
        return False
    if old.recipe != recipe_of(stage):
        raise RefusedError(f"{stage.name} changed: {'; '.join(difference(old.recipe, recipe_of(stage)))}")
    return receipt_holds(old, stage, run, inputs)


def _do(stage: Stage, run: Run, step: str, inputs: dict[str, str], make: Callable[[], Files], lock: Lock) -> None:
    path = step_receipt_path(stage.name, step)
    publisher = Publisher(run.store, lock, path)
    publisher.withdraw()
    started = time.perf_counter()
    outputs: dict[str, FileInfo] = {}
    columns: dict[str, dict[str, str]] = {}
    for name, data in make():
        outputs[name] = describe(data)
        if isinstance(data, bytes) and name.endswith(".parquet"):
            columns[name] = parquet.value_digests(parquet.decode_table(data))
        publisher.put(name, data, outputs[name])
    receipt = Receipt(
        stage=stage.name, shard=-1, shards=0, recipe=recipe_of(stage), inputs=inputs, outputs=outputs,
        n_in=0, n_kept=0, n_rejected={}, n_failed={},
        seconds={step: round(time.perf_counter() - started, 4)}, host=socket.gethostname(),
        run=run.plan.identity, columns=columns, environment=census(),
    )  # fmt: skip
    publisher.commit(receipt)
