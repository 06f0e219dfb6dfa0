"""``verify --repair``: what is damaged or stale is made anew by its own stage; the same bytes make later receipts true again."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pipeline.errors import DamagedDataError, RefusedError
from pipeline.ledger import NOTE, STALE, Finding, freshness, read_ledger
from pipeline.locks import shard_lock
from pipeline.receipts import Receipt
from pipeline.run import Run
from pipeline.runner import Executor, Options, Watcher, run_stages
from pipeline.stage import Stage
from pipeline.verify import Verification


@dataclass(frozen=True)
class Workshop:
    """How stages are run: an executor for some of them, and who watches."""

    executor: Callable[[Sequence[Stage]], AbstractContextManager[Executor]]
    watcher: Watcher


def repair(run: Run, stages: Sequence[Stage], found: Verification, workshop: Workshop) -> list[Finding]:
    """Make good what a stage can make good; the stages it runs are brought to their end. Gives notes on bytes that changed.

    Raises RefusedError, with nothing touched, when such a stage was made with another recipe, or when a process holds a shard.
    """
    wanted = [f for f in found.findings if f.severity != NOTE and f.stage in {stage.name for stage in stages}]
    _refuse_changed(wanted, found)
    before = _digests(run, wanted)
    # Stale by its inputs may only look so while the receipt above it is wrong: that is asked again below.
    pending = [f for f in wanted if f.severity != STALE or not f.receipt] or wanted
    for _ in range(len(stages) + 1):
        if not pending:
            break
        _pass(run, stages, pending, workshop)
        pending = list(freshness(run, stages, read_ledger(run, stages)))
        _refuse_changed(pending, found)
    return _changes(run, before)


def _refuse_changed(wanted: Iterable[Finding], found: Verification) -> None:
    for finding in wanted:
        if finding.stage in found.changed:
            raise RefusedError(
                f"{finding.stage} was made with another recipe ({'; '.join(found.changed[finding.stage])}), so it cannot be "
                "repaired with this one: go back to that recipe or version, or start anew with --accept-change"
            )


def _pass(run: Run, stages: Sequence[Stage], findings: Sequence[Finding], workshop: Workshop) -> None:
    numbers = {f.receipt: f.receipt.rsplit("/", 1)[1].split(".")[0] for f in findings if f.receipt}
    for path, stem in sorted(numbers.items()):
        if not stem.isdigit():
            run.store.remove(path)
            continue
        with shard_lock(run.store, path.rsplit("/", 1)[0], int(stem)):
            run.store.remove(path)
    names = {finding.stage for finding in findings}
    chosen = [stage for stage in stages if stage.name in names]
    with workshop.executor(chosen) as executor:
        run_stages(chosen, run, executor, watcher=workshop.watcher, chain=stages, options=Options())


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
