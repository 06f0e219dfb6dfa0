"""``verify --repair``: what is damaged or stale is made anew by its own stage; the same bytes make later receipts true again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pipeline.checks.receipt_audit import DAMAGE, NOTE, SUFFIX, Finding
from pipeline.checks.verify import Verification
from pipeline.core.errors import DamagedDataError, RefusedError
from pipeline.core.stage import Stage
from pipeline.engine.runner import Executor, Options, Watcher, run_stages
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.locks import shard_lock


@dataclass(frozen=True)
class RepairTools:
    """How stages are run: an executor for some of them, and who watches."""

    executor: Callable[[Sequence[Stage]], AbstractContextManager[Executor]]
    watcher: Watcher


def repair(run: Run, stages: Sequence[Stage], found: Verification, workshop: RepairTools) -> list[Finding]:
    """Make good what a stage can make good, and after it what is then out of date. Gives notes on bytes that changed.

    Only shards that were done before, or that others were made from, are worked on. Raises RefusedError, with nothing touched,
    when a damaged stage was made with another recipe, or when a process holds a shard.
    """
    names = [stage.name for stage in stages]
    wanted = [f for f in found.findings if f.severity != NOTE and f.stage in names]
    if not wanted:
        return []
    _refuse_changed(wanted, found)
    before = _digests(run, wanted)
    scope = {stage.name: _scope(run, stage, wanted) for stage in stages}
    for finding in wanted:
        if finding.severity == DAMAGE:  # the runner itself removes what is out of date
            _forget(run, finding.receipt)
    first = min(names.index(finding.stage) for finding in wanted)
    chosen = [s for s in stages[first:] if scope[s.name] and s.name not in found.changed]
    with workshop.executor(chosen) as executor:
        limited = _Within(executor, scope)
        run_stages(chosen, run, limited, watcher=workshop.watcher, chain=stages, options=Options())
    return _changes(run, before)


def _refuse_changed(wanted: Iterable[Finding], found: Verification) -> None:
    for finding in wanted:
        if finding.stage in found.changed and finding.severity == DAMAGE:
            raise RefusedError(
                f"{finding.stage} was made with another recipe ({'; '.join(found.changed[finding.stage])}), so it cannot be "
                "repaired with this one: go back to that recipe or version, or start anew with --accept-change"
            )


def _scope(run: Run, stage: Stage, wanted: Sequence[Finding]) -> set[int]:
    """Shards that repair may work on: those with a receipt; all, when something was made from the whole stage."""
    done = {int(n[: -len(SUFFIX)]) for n in run.store.names(stage.name) if n.endswith(SUFFIX) and n[:6].isdigit()}
    orphaned = any(f.stage == stage.name and not f.receipt for f in wanted)
    whole = orphaned or (bool(done) and stage.regroups)
    return set(range(stage.shards(run.plan.work_shards))) if whole else done


class _Within:
    """An executor that leaves out shards beyond a scope, so that repair does not finish a stage that is half done."""

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
        run.store.remove(path)


def _digests(run: Run, findings: Iterable[Finding]) -> dict[str, str]:
    """What readable receipts said of the files that are about to be made anew."""
    return {f.receipt: receipt.output_digest for f in findings if f.receipt and (receipt := _own(run, f.receipt))}


def _own(run: Run, path: str) -> Receipt | None:
    """The receipt at a path, or None when it is damaged or another shard's."""
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
            what = "made anew, with other bytes than its receipt named; what was made from it was brought up to date"
            notes.append(Finding(NOTE, path, what, "nothing to do"))
    return notes
