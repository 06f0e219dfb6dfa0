"""What was dropped and why: every input file that is not in the dataset, failed samples, and examples of rejected canvases."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from pipeline.core.stage import FAILED, KEPT, REJECTED
from pipeline.report.album import THUMB
from pipeline.report.reader import Verdict, sample_rows
from pipeline.report.section import CanvasPicture, Material, Section

# Bounds of the page and of the time to make it: rows listed, tables read, pictures a reason, reasons with pictures.
MAX_LISTED = 300
MAX_TABLES = 40
EXAMPLES = 5
MAX_REASONS = 10


@dataclass(frozen=True)
class LostFile:
    """An input file without a photo in the dataset."""

    file: str
    key: str
    status: str
    reason: str
    detail: str


@dataclass(frozen=True)
class FailedSample:
    """A sample that an error stopped."""

    stage: str
    key: str
    reason: str
    detail: str


@dataclass(frozen=True)
class RejectedCanvas(CanvasPicture):
    """A rejected canvas with the measurement that it failed."""

    detail: str


@dataclass(frozen=True)
class ReasonGroup:
    """Rejected canvases of one reason: their number and some examples."""

    stage: str
    reason: str
    count: int
    examples: list[RejectedCanvas]


def lost_files_section(material: Material) -> Section:
    """Input files without a photo in the dataset, with the reason and the exact error."""
    reader = material.reader
    title = "Files that are not in the dataset"
    if not reader.has("ingest"):
        return Section("lost", title, missing="No photograph was read yet", command=material.command("ingest"))
    with_some = [r.shard for r in reader.receipts("ingest") if r.n_rejected or r.n_failed]
    verdicts = [verdict for shard in with_some[:MAX_TABLES] for verdict in reader.verdicts("ingest", shard)]
    lost = sorted((_lost(material, one) for one in verdicts if one.status != KEPT), key=lambda one: one.file)
    total = sum(sum(r.n_rejected.values()) + sum(r.n_failed.values()) for r in reader.receipts("ingest"))
    listed = lost[:MAX_LISTED]
    data = {"total": total, "listed": [asdict(one) for one in listed]}
    return Section("lost", title, data=data, view={"total": total, "rows": listed})


def _lost(material: Material, verdict: Verdict) -> LostFile:
    source = material.reader.source(verdict.key)
    uri = source.uri if source else ""
    original = material.reader.source(source.duplicate_of) if source else None
    detail = f"same picture as {original.uri}" if original else verdict.detail.removeprefix(f"{uri}: ")
    return LostFile(uri or verdict.key, verdict.key, verdict.status, verdict.reason, detail)


def failures_section(material: Material) -> Section:
    """Samples of later stages that an error stopped; empty when there are none."""
    reader = material.reader
    failed = {status.stage: status.failed for status in reader.funnel if status.failed and status.stage != "ingest"}
    rows: list[FailedSample] = []
    for stage in failed:
        shards = [r.shard for r in reader.receipts(stage) if r.n_failed][:MAX_TABLES]
        verdicts = [verdict for shard in shards for verdict in reader.verdicts(stage, shard)]
        rows += [FailedSample(stage, one.key, one.reason, one.detail) for one in verdicts if one.status == FAILED]
    total = sum(n for reasons in failed.values() for n in reasons.values())
    data = {"total": total, "listed": [asdict(row) for row in rows[:MAX_LISTED]]}
    view = {"total": total, "rows": rows[:MAX_LISTED], "retry": material.command("run --retry-failed")}
    return Section("failures", "Samples that an error stopped", data=data, view=view, empty=not total)


def rejected_canvases_section(material: Material) -> Section:
    """Examples of each reason for which a canvas was rejected."""
    title = "Dropped canvases, by reason"
    if not material.reader.has("outpaint"):
        return Section("rejects", title, missing="No canvas was painted yet", command=material.command("outpaint"))
    groups = [group for stage in ("outpaint", "filter") for group in _groups(material, stage)][:MAX_REASONS]
    data = [
        {"stage": one.stage, "reason": one.reason, "count": one.count, "keys": [each.key for each in one.examples]}
        for one in groups
    ]
    return Section("rejects", title, data=data, view={"groups": groups})


def _groups(material: Material, stage: str) -> Iterator[ReasonGroup]:
    reader = material.reader
    counts = next((status.rejected for status in reader.funnel if status.stage == stage), {})
    verdicts = [verdict for shard in reader.shards for verdict in reader.verdicts(stage, shard)]
    for reason, count in counts.items():
        rejected = [one for one in verdicts if one.status == REJECTED and one.reason == reason]
        chosen = sample_rows(rejected, EXAMPLES, f"reject/{reason}")
        examples = [example for one in chosen if (example := _example(material, one)) is not None]
        yield ReasonGroup(stage, reason, count, examples)


def _example(material: Material, verdict: Verdict) -> RejectedCanvas | None:
    """A rejected canvas with its photo's rectangle; None when its image was not kept."""
    canvas = material.canvas_picture(verdict.key, THUMB)
    return None if canvas is None else RejectedCanvas(**vars(canvas), detail=verdict.detail)
