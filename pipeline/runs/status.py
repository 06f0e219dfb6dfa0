"""Progress of a run and outcomes of its samples, from receipts; tables are read only to list single samples."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypedDict

from pipeline.core.json_types import Json
from pipeline.core.stage import FAILED, REJECTED, Stage
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import SOURCES, Run, step_receipt_path
from pipeline.shards import parquet

STEPS = ("prologue", "epilogue")


class DroppedSample(TypedDict):
    """A rejected or failed sample. file: address of the photograph that it is, or was made of."""

    stage: str
    shard: int
    key: str
    file: str
    status: str
    reason: str
    detail: str


@dataclass(frozen=True)
class StageStatus:
    """Counts and times of one stage; ``n_in == kept + sum(rejected) + sum(failed)``.

    Args:
        stage: its name.
        done: number of shards that are done.
        total: number of shards.
        missing: shards that are not done, ascending.
        n_in: samples that came in.
        kept: samples that go on.
        rejected: samples by reason.
        failed: samples by class of error.
        seconds: by phase (read, compute, write, prologue, epilogue), added over workers.
        rate: samples a second of one worker; 0 before any was timed.
        devices: that models ran on.
        hosts: that shards were made on.
    """

    stage: str
    done: int
    total: int
    missing: list[int]
    n_in: int
    kept: int
    rejected: dict[str, int]
    failed: dict[str, int]
    seconds: dict[str, float]
    rate: float
    devices: list[str]
    hosts: list[str]

    @property
    def complete(self) -> bool:
        """Whether no shard is missing."""
        return self.done == self.total

    def as_json(self) -> dict[str, Json]:
        """The entry of ``status --json``."""
        return {
            "stage": self.stage, "done": self.done, "total": self.total, "missing": ranges(self.missing),
            "in": self.n_in, "kept": self.kept, "rejected": self.rejected, "failed": self.failed,
            "seconds": self.seconds, "rate": self.rate, "devices": self.devices, "hosts": self.hosts,
        }  # fmt: skip


def funnel(run: Run, stages: Sequence[Stage]) -> list[StageStatus]:
    """The status of each stage, in their order. Raises DamagedDataError for an incomplete or edited receipt."""
    return [stage_status(stage, run) for stage in stages]


def stage_status(stage: Stage, run: Run) -> StageStatus:
    """One stage's counts and times, from its receipts."""
    total = stage.shards(run.plan.work_shards)
    receipts = [receipt for receipt in run.receipts(stage.name) if receipt.shard < total]
    timed: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for receipt in receipts:
        rejected.update(receipt.n_rejected)
        failed.update(receipt.n_failed)
        timed.update(receipt.seconds)
    n_in, worked = sum(r.n_in for r in receipts), sum(timed.values())
    for step in _steps(stage, run):
        timed.update(step.seconds)
    done = {receipt.shard for receipt in receipts}
    return StageStatus(
        stage=stage.name,
        done=len(done),
        total=total,
        missing=[shard for shard in range(total) if shard not in done],
        n_in=n_in,
        kept=sum(r.n_kept for r in receipts),
        rejected=dict(sorted(rejected.items())),
        failed=dict(sorted(failed.items())),
        seconds={phase: round(value, 3) for phase, value in timed.items()},
        rate=round(n_in / worked, 3) if worked > 0 else 0.0,
        devices=sorted({r.device for r in receipts if r.device}),
        hosts=sorted({r.host for r in receipts if r.host}),
    )


def _steps(stage: Stage, run: Run) -> list[Receipt]:
    receipts = [run.receipt_at(step_receipt_path(stage.name, step)) for step in STEPS]
    return [receipt for receipt in receipts if receipt is not None]


def failed_samples(run: Run, stages: Sequence[Stage]) -> Iterator[DroppedSample]:
    """Samples that raised an error. Reads only the tables of shards that have some."""
    return _samples(run, stages, FAILED)


def rejected_samples(run: Run, stages: Sequence[Stage]) -> Iterator[DroppedSample]:
    """Samples that a stage rejected. Reads only the tables of shards that have some."""
    return _samples(run, stages, REJECTED)


def _samples(run: Run, stages: Sequence[Stage], status: str) -> Iterator[DroppedSample]:
    files = cache(lambda: _files_by_key(run))
    for stage in stages:
        for receipt in run.receipts(stage.name):
            if not (receipt.n_failed if status == FAILED else receipt.n_rejected):
                continue
            for row in run.rows(stage.name, receipt.shard, ["key", "status", "reason", "detail"]):
                if row["status"] == status:
                    yield DroppedSample(
                        stage=stage.name, shard=receipt.shard, key=row["key"], file=file_of(row["key"], files()), status=status,
                        reason=row["reason"], detail=row["detail"],
                    )  # fmt: skip


def _files_by_key(run: Run) -> dict[str, str]:
    """Addresses of the input files by the key of their photograph."""
    if not run.store.exists(f"{SOURCES}.parquet"):
        return {}
    table = parquet.decode_table(run.store.read(f"{SOURCES}.parquet"), ["key", "uri"])
    return dict(zip(table["key"].to_pylist(), table["uri"].to_pylist(), strict=True))


def file_of(key: str, files: Mapping[str, str]) -> str:
    """The photograph's file; of a canvas with its number, which its key ends with."""
    photo, _, number = key.partition("-")
    file = files.get(photo, "")
    return f"{file} (canvas {int(number) + 1})" if file and number.isdigit() else file


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as ``0-3,7``, the form that array jobs take; empty for none."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
