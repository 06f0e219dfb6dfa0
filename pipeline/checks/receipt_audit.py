"""Reads all receipts of a run directory and lists those that are damaged, misplaced, of another recipe or out of date."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache

from pipeline.core.errors import DamagedDataError, MissingUpstreamError, RefusedError
from pipeline.core.seeds import digest_of
from pipeline.core.stage import Stage
from pipeline.runs.receipts import FORMAT, Receipt, difference
from pipeline.runs.run_directory import SOURCES, Run, digest_of_shards, receipt_path, recipe_of, step_receipt_path

DAMAGE, STALE, NOTE = "damage", "stale", "note"
STEPS = ("prologue", "epilogue")
SUFFIX = ".receipt.json"
REPAIR = "make it again with 'procrop-data verify --repair'"


@dataclass(frozen=True)
class Finding:
    """One difference between the run directory and its receipts.

    Args:
        severity: ``damage`` (bytes differ from their receipt), ``stale`` (made from files that have changed) or ``note``.
        where: path in the run directory.
        what: the difference.
        fix: what to do.
        stage: that can repair it; empty when none can.
        receipt: path of the receipt to delete before the repair, or empty.
    """

    severity: str
    where: str
    what: str
    fix: str
    stage: str = ""
    receipt: str = ""

    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.severity}: {self.where}: {self.what}; {self.fix}"

    def as_json(self) -> dict[str, str]:
        """An entry of ``verify --json``."""
        return asdict(self)


@dataclass
class ReceiptAudit:
    """The receipts of a run directory.

    Args:
        shards: readable receipts in their place, by stage and shard.
        steps: readable receipts of run-level steps, by stage and step.
        broken: (stage, shard) of unreadable or misplaced receipts; shard -1 for a step.
        changed: by stage, how today's recipe differs from the one that all its receipts name.
        findings: what is wrong with the receipts themselves.
    """

    shards: dict[str, dict[int, Receipt]] = field(default_factory=dict)
    steps: dict[str, dict[str, Receipt]] = field(default_factory=dict)
    broken: set[tuple[str, int]] = field(default_factory=set)
    changed: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def entries(self, stage: str) -> Iterator[tuple[str, Receipt]]:
        """(path of the receipt, receipt) of a stage's steps and shards."""
        for step, receipt in self.steps[stage].items():
            yield step_receipt_path(stage, step), receipt
        for number, receipt in self.shards[stage].items():
            yield receipt_path(stage, number), receipt


def audit_receipts(run: Run, stages: Sequence[Stage]) -> ReceiptAudit:
    """Read every receipt of ``stages``. Raises RefusedError when a newer version of this program wrote one."""
    audit = ReceiptAudit()
    for stage in stages:
        audit.shards[stage.name], audit.steps[stage.name] = {}, {}
        for name in run.store.names(stage.name):
            stem = name.removesuffix(SUFFIX)
            if stem != name and ".partial." not in name and (stem in STEPS or stem.isdigit()):
                _enter(audit, run, stage, stem)
        _compare_recipes(audit, run, stage)
        _compare_environments(audit, stage)
    return audit


def _enter(audit: ReceiptAudit, run: Run, stage: Stage, stem: str) -> None:
    path, number = f"{stage.name}/{stem}{SUFFIX}", int(stem) if stem.isdigit() else -1
    problem = ""
    try:
        data = run.store.read(path)
        _refuse_newer(data, path)
        receipt = Receipt.decode(data, path)
        problem = _misplaced(stage, number, receipt, run)
    except DamagedDataError as error:
        problem = str(error).replace(f"receipt '{path}' ", "").replace(f"receipt in '{path}': ", "")
    except (TypeError, AttributeError, OSError) as error:  # fields of wrong types; a disk that fails
        problem = f"is not readable: {error}"
    if problem:
        audit.broken.add((stage.name, number))
        audit.findings.append(Finding(DAMAGE, path, problem, REPAIR, stage.name, path))
    elif number < 0:
        audit.steps[stage.name][stem] = receipt
    else:
        audit.shards[stage.name][number] = receipt


def _refuse_newer(data: bytes, path: str) -> None:
    try:
        version = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(version, int) and version > FORMAT:
        raise RefusedError(
            f"'{path}' was written by a newer version (receipt format {version}, this one reads {FORMAT}): "
            "use that version of procrop-data"
        )


def _misplaced(stage: Stage, number: int, receipt: Receipt, run: Run) -> str:
    if (receipt.stage, receipt.shard) != (stage.name, number):
        return f"is the receipt of {receipt.stage} shard {receipt.shard}: shards were swapped or mixed"
    if receipt.run not in ("", run.plan.identity):
        return "is of another run (another name, seed or number of work shards): shards were mixed"
    infos = receipt.outputs.values()
    if not all(isinstance(about, dict) and {"size", "sha256"} <= set(about) for about in infos):
        return "was edited: an output has no size or no sha256"
    expected = expected_outputs(stage, run, number) if number >= 0 else None
    if expected is not None and receipt.shards == stage.shards(run.plan.work_shards):
        named = set(receipt.outputs)
        if named != expected:
            return f"was edited: it names {sorted(named)} where this shard has {sorted(expected)}"
    return ""


def expected_outputs(stage: Stage, run: Run, number: int) -> set[str] | None:
    """Paths of a shard's files; None when the prologue that decides them is not readable."""
    shared: Callable[[str], bytes] = lru_cache(maxsize=8)(lambda name: run.store.read(f"{stage.name}/shared/{name}"))
    try:
        tar, table = stage.paths(number, shared)
        index = stage.index_path(number, shared)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return {table, *([tar] if stage.extensions and tar else []), *([index] if index else [])}


def _compare_recipes(audit: ReceiptAudit, run: Run, stage: Stage) -> None:
    """Another recipe in all receipts of a stage is a changed recipe (a note); in some of them it is damage."""
    recipe, total = recipe_of(stage), stage.shards(run.plan.work_shards)
    other: dict[str, list[str]] = {}
    for path, receipt in audit.entries(stage.name):
        changes = difference(receipt.recipe, recipe)
        if receipt.shard >= 0 and receipt.shards != total:
            changes.append(f"shards: {receipt.shards} -> {total}")
        if changes:
            other[path] = changes
    shards = [receipt_path(stage.name, number) for number in audit.shards[stage.name]]
    if shards and all(path in other for path in shards):
        audit.changed[stage.name] = other[shards[0]]
        fix = f"'procrop-data {stage.verb} --accept-change' would make it again"
        what = f"made with another recipe ({'; '.join(other[shards[0]])})"
        audit.findings.append(Finding(NOTE, stage.name, what, fix))
        return
    for path, changes in other.items():
        what = f"made with another recipe than its neighbours ({'; '.join(changes)})"
        audit.findings.append(Finding(DAMAGE, path, what, REPAIR, stage.name, path))


def _compare_environments(audit: ReceiptAudit, stage: Stage) -> None:
    """A note where shards of one stage were made with other libraries or processors: they are sound, but not the same bytes."""
    known = [receipt.environment for receipt in audit.shards[stage.name].values() if receipt.environment]
    others = [environment for environment in known if environment != known[0]]
    if others:
        different = "; ".join(difference(known[0], others[0]))
        what = f"{len(others)} of {len(known)} shards were made with other versions or processors ({different})"
        audit.findings.append(
            Finding(NOTE, stage.name, what, "docs/storage.md says what the same bytes are", stage.name)
        )


def freshness(run: Run, stages: Sequence[Stage], audit: ReceiptAudit) -> Iterator[Finding]:
    """Shards and steps whose inputs have changed or are missing, except where an upstream receipt is broken."""
    for stage in stages:
        for number, receipt in audit.shards[stage.name].items():
            if not any((name, number) in audit.broken for name in stage.upstream):
                yield from _shard_freshness(run, stage, receipt, audit)
        yield from _step_freshness(run, stages, stage, audit)


def _shard_freshness(run: Run, stage: Stage, receipt: Receipt, audit: ReceiptAudit) -> Iterator[Finding]:
    path = receipt_path(stage.name, receipt.shard)
    try:
        now = run.inputs_of(stage, receipt.shard)
    except MissingUpstreamError:
        absent = [n for n in stage.upstream if n != SOURCES and receipt.shard not in audit.shards[n]]
        name = absent[0] if absent and not stage.regroups else stage.name
        missing = f"{name} shard {receipt.shard}" if name != stage.name else f"the prologue of {name}"
        yield Finding(STALE, path, f"{missing}, which it was made from, is not done", REPAIR, name)
        return
    except (DamagedDataError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # the unreadable input has its own finding
    if now != receipt.inputs:
        yield Finding(STALE, path, _other_inputs(receipt, now), REPAIR, stage.name, path)


def _other_inputs(receipt: Receipt, now: dict[str, str]) -> str:
    names = sorted(name for name in {*now, *receipt.inputs} if now.get(name) != receipt.inputs.get(name))
    return f"made from other bytes of {', '.join(names)} than there are now"


def _step_freshness(run: Run, stages: Sequence[Stage], stage: Stage, audit: ReceiptAudit) -> Iterator[Finding]:
    counts = {other.name: other.shards(run.plan.work_shards) for other in stages}
    broken = {name for name, _ in audit.broken}
    for step, receipt in audit.steps[stage.name].items():
        reads = [name for name in stage.upstream if name != SOURCES] if step == "prologue" else [stage.name]
        if broken & set(reads):
            continue
        path = step_receipt_path(stage.name, step)
        short = [name for name in reads if len(audit.shards[name]) < counts[name]]
        if short:
            yield Finding(STALE, path, f"{short[0]}, which it was made from, is not complete", REPAIR, short[0])
            continue
        now = {name: _digest_of_all(audit.shards[name], stage, step) for name in reads}
        # The next run checks what a prologue read outside of the run directory.
        if now != {name: digest for name, digest in receipt.inputs.items() if name in now}:
            yield Finding(STALE, path, _other_inputs(receipt, now), REPAIR, stage.name, path)


def _digest_of_all(shards: dict[int, Receipt], stage: Stage, step: str) -> str:
    """The digest that ``pipeline.engine.run_level_steps`` records."""
    receipts = [shards[number] for number in sorted(shards)]
    if step == "prologue":
        return digest_of_shards(receipts, stage.columns_read(receipts[0].stage) if receipts else None)
    return digest_of([receipt.output_digest for receipt in receipts])
