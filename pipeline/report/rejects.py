"""What was dropped and why: every input file that is not in the dataset, and rejected canvases to look at."""

from collections.abc import Iterable
from typing import Any

from pipeline.core.stage import FAILED, KEPT, REJECTED
from pipeline.report.album import THUMB
from pipeline.report.reader import sample_rows
from pipeline.report.section import Material, Section

MAX_LISTED = 300
MAX_TABLES = 40
EXAMPLES = 5
# More reasons than this are not shown with pictures: it bounds the page.
MAX_REASONS = 10


def lost_files_section(material: Material) -> Section:
    """Input files without a photo in the dataset, with the reason and what exactly was wrong."""
    reader = material.reader
    title = "Files that are not in the dataset"
    if not reader.has("ingest"):
        return Section("lost", title, missing="No photograph was read yet", command=material.command("ingest"))
    with_some = [r.shard for r in reader.receipts("ingest") if r.n_rejected or r.n_failed]
    rows = [row for shard in with_some[:MAX_TABLES] for row in reader.table("ingest", shard, ())]
    lost = sorted((_lost(material, row) for row in rows if row["status"] != KEPT), key=lambda row: row["file"])
    total = sum(sum(r.n_rejected.values()) + sum(r.n_failed.values()) for r in reader.receipts("ingest"))
    listed = lost[:MAX_LISTED]
    return Section("lost", title, data={"total": total, "listed": listed}, view={"total": total, "rows": listed})


def _lost(material: Material, row: dict[str, Any]) -> dict[str, str]:
    source = material.reader.source(row["key"])
    uri = source.get("uri", "")
    detail = row["detail"].removeprefix(f"{uri}: ")
    original = material.reader.source(source.get("duplicate_of", ""))
    if original:
        detail = f"same picture as {original['uri']}"
    return {
        "file": uri or row["key"],
        "key": row["key"],
        "status": row["status"],
        "reason": row["reason"],
        "detail": detail,
    }


def failures_section(material: Material) -> Section:
    """Samples of later stages that an error stopped; left out of the page when there are none."""
    reader = material.reader
    failed = {status.stage: status.failed for status in reader.funnel if status.failed and status.stage != "ingest"}
    rows: list[dict[str, Any]] = []
    for stage in failed:
        shards = [r.shard for r in reader.receipts(stage) if r.n_failed][:MAX_TABLES]
        rows += [
            {"stage": stage, **row}
            for shard in shards
            for row in reader.table(stage, shard, ())
            if row["status"] == FAILED
        ]
    total = sum(n for reasons in failed.values() for n in reasons.values())
    listed = [{name: row[name] for name in ("stage", "key", "reason", "detail")} for row in rows[:MAX_LISTED]]
    data = {"total": total, "listed": listed}
    view = {"total": total, "rows": listed, "retry": material.command("run --retry-failed")}
    return Section("failures", "Samples that an error stopped", data=data, view=view)


def rejected_canvases_section(material: Material) -> Section:
    """Examples of each reason for which a canvas was dropped."""
    title = "Dropped canvases, by reason"
    if not material.reader.has("outpaint"):
        return Section("rejects", title, missing="No canvas was painted yet", command=material.command("outpaint"))
    groups = [group for stage in ("outpaint", "filter") for group in _groups(material, stage)][:MAX_REASONS]
    data = [
        {**{k: g[k] for k in ("stage", "reason", "count")}, "keys": [e["key"] for e in g["examples"]]} for g in groups
    ]
    return Section("rejects", title, data=data, view={"groups": groups})


def _groups(material: Material, stage: str) -> Iterable[dict[str, Any]]:
    counts = next((s.rejected for s in material.reader.funnel if s.stage == stage), {})
    rows = [row for row in material.reader.rows(stage, ()) if row["status"] == REJECTED]
    for reason, count in counts.items():
        chosen = sample_rows([row for row in rows if row["reason"] == reason], EXAMPLES, f"reject/{reason}")
        examples = [example for row in chosen if (example := _example(material, row)) is not None]
        yield {"stage": stage, "reason": reason, "count": count, "examples": examples}


def _example(material: Material, row: dict[str, Any]) -> dict[str, Any] | None:
    """A rejected canvas with its photo's rectangle; None when no picture of it was kept."""
    data = material.reader.image("outpaint", row["key"])
    canvas = material.reader.find("outpaint", row["key"], ("photo", "photo_box"))
    if data is None or canvas is None:
        return None
    material.album.show(canvas["photo"])
    picture = material.album.add(row["key"], data, THUMB)
    return {"key": row["key"], "detail": row["detail"], "picture": picture, "photo_box": canvas["photo_box"]}
