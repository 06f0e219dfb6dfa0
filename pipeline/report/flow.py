"""Counts and times of each stage, from receipts."""

from collections.abc import Sequence

from pipeline.core.records import PERCEIVED_PHOTOS
from pipeline.core.stage import verb_of
from pipeline.report.charts import stacked_bar
from pipeline.report.section import Material, Section
from pipeline.runs.status import StageStatus

UNITS = {
    "ingest": "files",
    PERCEIVED_PHOTOS: "photos",
    "dedup": "photos",
    "caption": "photos",
    "build": "samples",
    "embed": "pictures",
}
PHASES = ("read", "compute", "write", "prologue", "epilogue")
# Classes of the style sheet for dropped parts; a reason keeps its colour within a stage.
DROPPED = ("s1", "s2", "s3", "s4", "s6", "s7")


def stage_title(stage: str) -> str:
    """The name of a stage for headings: ``refine, round 2`` for ``refine/round-02``."""
    root, _, part = stage.partition("/")
    return f"{root}, {part.replace('-0', ' ').replace('-', ' ')}" if part else root


def counted_unit(stage: str) -> str:
    """The unit of a stage's counts."""
    return UNITS.get(stage, UNITS.get(verb_of(stage), "canvases"))


def funnel_section(material: Material) -> Section:
    """Samples kept and dropped, by stage and reason."""
    begun = [status for status in material.reader.funnel if status.done]
    rows = [
        {
            "status": status,
            "title": stage_title(status.stage),
            "unit": counted_unit(status.stage),
            "bar": _funnel_bar(status),
        }
        for status in begun
    ]
    waiting = [status.stage for status in material.reader.funnel if not status.complete]
    return Section(
        "funnel",
        "Kept and dropped, stage by stage",
        data=[status.as_json() for status in material.reader.funnel],
        view={"rows": rows, "waiting": _roots(waiting)},
    )


def _roots(stages: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(verb_of(stage) for stage in stages))


def _funnel_bar(status: StageStatus) -> dict[str, object]:
    dropped = [(reason, n, DROPPED[i % len(DROPPED)]) for i, (reason, n) in enumerate(status.rejected.items())]
    broken = [(f"failed: {reason}", n, "bad") for reason, n in status.failed.items()]
    words = ", ".join(f"{n} {reason}" for reason, n, _ in [("kept", status.kept, ""), *dropped, *broken])
    svg = stacked_bar([("kept", status.kept, "s0"), *dropped, *broken], f"{status.stage}: {words}")
    return {"svg": svg, "dropped": [*dropped, *broken]}


def time_section(material: Material) -> Section:
    """Seconds by phase and rate."""
    begun = [status for status in material.reader.funnel if status.done]
    total = sum(sum(status.seconds.values()) for status in begun)
    longest = max((sum(status.seconds.values()) for status in begun), default=0.0) or 1.0
    rows = []
    for status in begun:
        phases = {phase: status.seconds.get(phase, 0.0) for phase in PHASES}
        spent = sum(status.seconds.values())
        parts = [(phase, seconds, f"s{index}") for index, (phase, seconds) in enumerate(phases.items())]
        svg = stacked_bar([*parts, ("", longest - spent, "none")], f"{status.stage}: {spent:.1f} seconds")
        rows.append(
            {"title": stage_title(status.stage), "unit": counted_unit(status.stage), "phases": phases, "seconds": spent,
             "rate": status.rate, "n": status.n_in, "svg": svg, "where": ", ".join(status.devices)}
        )  # fmt: skip
    data = {
        "total_seconds": round(total, 2),
        "stages": {s.stage: {"seconds": s.seconds, "rate": s.rate} for s in begun},
    }
    hosts = sorted({host for status in begun for host in status.hosts})
    view = {"rows": rows, "total": total, "phases": PHASES, "hosts": len(hosts)}
    return Section("time", "Time and rate", data=data, view=view)
