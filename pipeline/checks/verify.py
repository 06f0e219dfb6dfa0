"""``verify``: compares every file of a run directory with its receipt, and every receipt with its inputs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline.checks.byte_audit import check_receipt
from pipeline.checks.receipt_audit import (
    DAMAGE,
    NOTE,
    STALE,
    SUFFIX,
    Finding,
    ReceiptAudit,
    audit_receipts,
    expected_outputs,
    freshness,
)
from pipeline.core.json_types import Json
from pipeline.core.stage import Stage
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import SOURCES, Run
from pipeline.storage.base import FileInfo


@dataclass
class Verification:
    """The result of ``verify``.

    Args:
        receipts: number of receipts checked.
        files: number of files that they name.
        bytes: total size of those files.
        findings: every difference.
        changed: by stage, how today's recipe differs from the one that all its receipts name.
    """

    receipts: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged or out of date."""
        return all(finding.severity == NOTE for finding in self.findings)

    def as_json(self) -> dict[str, Json]:
        """The body of ``verify --json``."""
        tally = {word: sum(f.severity == word for f in self.findings) for word in (DAMAGE, STALE, NOTE)}
        return {
            "receipts": self.receipts, "files": self.files, "bytes": self.bytes, **tally,
            "findings": [finding.as_json() for finding in self.findings],
        }  # fmt: skip


def verify_run(
    run: Run, stages: Sequence[Stage], *, threads: int = 1,
    begin: Callable[[int], None] = lambda total: None, progress: Callable[[int], None] = lambda read: None,
) -> Verification:  # fmt: skip
    """Check a run directory; writes nothing. Raises RefusedError when a newer version wrote it.

    Args:
        run: the run directory.
        stages: whose shards are checked.
        threads: that read files in parallel.
        begin: is called once with the number of bytes to read.
        progress: is called, from any thread, with the number of bytes read since its last call.
    """
    audit = audit_receipts(run, stages)
    work = [(stage, path, receipt) for stage in stages for path, receipt in audit.entries(stage.name)]
    infos = [about for _, _, receipt in work for about in receipt.outputs.values()]
    result = Verification(len(work), len(infos), _total(infos), changed=audit.changed)
    begin(result.bytes)

    def check(item: tuple[Stage, str, Receipt]) -> list[Finding]:
        stage, path, receipt = item
        return check_receipt(run, stage, path, receipt, progress)

    result.findings += [*_sources(run), *_plan(run), *audit.findings]
    with ThreadPoolExecutor(threads) as pool:
        for findings in pool.map(check, work):
            result.findings += findings
    result.findings += [*freshness(run, stages, audit), *_strays(run, stages, audit)]
    return result


def _total(infos: Iterable[FileInfo]) -> int:
    return sum(about["size"] for about in infos if isinstance(about["size"], int))


def _sources(run: Run) -> Iterator[Finding]:
    path = f"{SOURCES}.parquet"
    fix = "make it again with 'procrop-data verify --repair'"
    try:
        run.sources(0)
    except FileNotFoundError:
        if run.plan.sources_digest:
            yield Finding(DAMAGE, path, "is gone", fix, SOURCES)
    except (OSError, ValueError, LookupError) as error:
        yield Finding(DAMAGE, path, f"is not readable: {' '.join(str(error).split())[:200]}", fix, SOURCES)


def _plan(run: Run) -> Iterator[Finding]:
    """The plan holds seed, shards and name twice: an edit of one place only is detected."""
    plan = run.plan
    for name, value, key in (
        ("run_seed", plan.run_seed, "seed"),
        ("work_shards", plan.work_shards, "work_shards"),
        ("name", plan.name, "name"),
    ):
        if plan.config.get(key, value) != value:
            what = f"was edited: {name} is {value!r}, its config says {plan.config[key]!r}"
            yield Finding(DAMAGE, "plan.json", what, "put back the value that the run was made with")


def _strays(run: Run, stages: Sequence[Stage], audit: ReceiptAudit) -> Iterator[Finding]:
    """Files that no receipt names: a note, since no reader uses them."""
    known = {name for stage in stages for _, receipt in audit.entries(stage.name) for name in receipt.outputs}
    by_name = {stage.name: stage for stage in stages}
    for name, number in audit.broken:
        known |= (expected_outputs(by_name[name], run, number) or set()) if number >= 0 else set()
    roots = {name.split("/")[0] for name in known if "/" in name} | {stage.verb for stage in stages}
    hidden_shared = {f"{name}/shared/" for name, number in audit.broken if number < 0}
    for root in ("", *sorted(roots)):
        for path in _files(run, root, known, deep=bool(root)):
            if not any(path.startswith(folder) for folder in hidden_shared):
                yield from _stray(path)
    for name in run.store.names("locks"):
        fix = "wait for that run, then verify again; the next run takes over a lock whose owner died"
        yield Finding(NOTE, f"locks/{name}", "a shard is held, so a run may be active", fix)


_REMEDY = "finish its shard, let 'procrop-data verify --repair' remove it if it is a run's, or move it away"


def _stray(path: str) -> Iterator[Finding]:
    if ".partial." in path:
        yield Finding(
            NOTE,
            path,
            "left by a writer that was killed",
            "no reader uses it; 'procrop-data verify --repair' removes it",
        )
    elif "/journal/" in path:
        yield Finding(NOTE, path, "journal of a shard that is not done", "the next run resumes from it")
    elif "/" in path and not _is_receipt(path):
        yield Finding(NOTE, path, "no receipt names it", f"no reader uses it; {_REMEDY}")


def _is_receipt(path: str) -> bool:
    stem = path.rsplit("/", 1)[1].removesuffix(SUFFIX)
    return path.endswith(SUFFIX) and (stem.isdigit() or stem in ("prologue", "epilogue"))


def _files(run: Run, folder: str, known: set[str], *, deep: bool) -> Iterator[str]:
    """Paths of the files under a folder that are not ``known``; a name with a dot inside is a file."""
    for name in run.store.names(folder):
        path = f"{folder}/{name}" if folder else name
        if path in known:
            continue
        if "." in name.lstrip("."):
            yield path
        elif deep:
            yield from _files(run, path, known, deep=True)
