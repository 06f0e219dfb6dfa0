"""``verify --repair``: runs the stages of damaged or outdated files again. The same bytes make later receipts valid again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pipeline.checks.receipt_audit import DAMAGE, NOTE, SUFFIX, Finding
from pipeline.checks.verify import Verification
from pipeline.core.errors import DamagedDataError, RefusedError
from pipeline.core.stage import Stage
from pipeline.engine.runner import Executor, Options, Watcher, run_stages
from pipeline.runs.final_shard_diff import retire
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.locks import shard_lock


@dataclass(frozen=True)
class RepairTools:
    """How ``repair`` runs stages.

    Args:
        executor: gives a context manager with an executor for some stages.
        watcher: is notified of progress.
    """

    executor: Callable[[Sequence[Stage]], AbstractContextManager[Executor]]
    watcher: Watcher


def repair(run: Run, stages: Sequence[Stage], verification: Verification, tools: RepairTools) -> list[Finding]:
    """Make damaged and outdated files again, then what was made from them. Gives notes on files whose bytes changed.

    Only shards that were done before, or that others were made from, are run. Raises RefusedError, before any change, when a
    damaged stage was made with another recipe, and HeldError when another process holds a shard.
    """
    names = [stage.name for stage in stages]
    repairable = [f for f in verification.findings if f.severity != NOTE and f.stage in names]
    if not repairable:
        return []
    _refuse_changed(repairable, verification)
    before = _digests(run, repairable)
    scope = {stage.name: _scope(run, stage, repairable) for stage in stages}
    for finding in repairable:
        if finding.severity == DAMAGE:  # the runner itself removes outdated receipts
            _forget(run, finding.receipt)
    first = min(names.index(finding.stage) for finding in repairable)
    chosen = [s for s in stages[first:] if scope[s.name] and s.name not in verification.changed]
    with tools.executor(chosen) as executor:
        limited = _Within(executor, scope)
        run_stages(chosen, run, limited, watcher=tools.watcher, chain=stages, options=Options())
    return _changes(run, before)


def _refuse_changed(repairable: Iterable[Finding], verification: Verification) -> None:
    for finding in repairable:
        if finding.stage in verification.changed and finding.severity == DAMAGE:
            raise RefusedError(
                f"{finding.stage} was made with another recipe ({'; '.join(verification.changed[finding.stage])}), so it cannot be "
                "repaired with this one: go back to that recipe or version, or start again with --accept-change"
            )


def _scope(run: Run, stage: Stage, repairable: Sequence[Finding]) -> set[int]:
    """Shards that repair may run: those with a receipt; all of them when something was made from the whole stage."""
    done = {int(n[: -len(SUFFIX)]) for n in run.store.names(stage.name) if n.endswith(SUFFIX) and n[:6].isdigit()}
    orphaned = any(f.stage == stage.name and not f.receipt for f in repairable)
    whole = orphaned or (bool(done) and stage.regroups)
    return set(range(stage.shards(run.plan.work_shards))) if whole else done


class _Within:
    """An executor limited to some shards, so that repair does not complete an unfinished stage."""

    def __init__(self, executor: Executor, scope: Mapping[str, set[int]]) -> None:
        self._executor, self._scope = executor, scope

    def map(self, stage: Stage, shards: Sequence[int]) -> Iterable[Receipt]:
        return self._executor.map(stage, [shard for shard in shards if shard in self._scope[stage.name]])


def _forget(run: Run, path: str) -> None:
    stem = path.rsplit("/", 1)[1].removesuffix(SUFFIX)
    if not stem.isdigit():
        run.store.remove(path)
        return
    with shard_lock(run.store, path.rsplit("/", 1)[0], int(stem)):
        retire(run, path)


def _digests(run: Run, findings: Iterable[Finding]) -> dict[str, str]:
    """Output digests of the readable receipts whose files will be made again."""
    return {f.receipt: receipt.output_digest for f in findings if f.receipt and (receipt := _own(run, f.receipt))}


def _own(run: Run, path: str) -> Receipt | None:
    """The receipt at a path, or None when it is damaged or of another shard."""
    try:
        receipt = run.receipt_at(path)
    except (DamagedDataError, TypeError, AttributeError):
        return None
    stem = path.rsplit("/", 1)[1].split(".")[0]
    return receipt if receipt is not None and (not stem.isdigit() or receipt.shard == int(stem)) else None


def _changes(run: Run, before: dict[str, str]) -> list[Finding]:
    notes = []
    for path, digest in sorted(before.items()):
        now = run.receipt_at(path)
        if now is not None and now.output_digest != digest:
            what = "made again with other bytes than its receipt named; what was made from it was updated"
            notes.append(Finding(NOTE, path, what, "nothing to do"))
    return notes
