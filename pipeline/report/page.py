"""Writes the page: all sections in order, one template, one file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.core.replace_file import replacing
from pipeline.core.stage import Stage
from pipeline.core.units import duration_text
from pipeline.report.album import Album
from pipeline.report.canvases import retrieval_section, sheet_section, story_section
from pipeline.report.cropper import evaluation_section, held_out_section, training_section
from pipeline.report.flow import funnel_section, time_section
from pipeline.report.leaks import leaks_section
from pipeline.report.overview import credits_of, overview, recipe_section
from pipeline.report.paint import paint_section
from pipeline.report.reader import RunReader
from pipeline.report.rejects import failures_section, lost_files_section, rejected_canvases_section
from pipeline.report.scores import round_section, score_section
from pipeline.report.seam import seam_section
from pipeline.report.section import Material, Section
from pipeline.runs.run_directory import Run
from pipeline.storage.base import storage_errors

SECTIONS: tuple[Callable[[Material], Section], ...] = (
    story_section,
    funnel_section,
    lost_files_section,
    failures_section,
    sheet_section,
    rejected_canvases_section,
    leaks_section,
    seam_section,
    paint_section,
    score_section,
    round_section,
    retrieval_section,
    training_section,
    evaluation_section,
    held_out_section,
    time_section,
    recipe_section,
)
DATA = "data.json"


def write_report(run: Run, stages: Sequence[Stage], *, models_dir: Path, crops_dir: Path, out: Path) -> Path:
    """Write the page of a run to ``out`` (HTML) and the numbers shown to ``data.json`` beside it; gives ``out``.

    models_dir: has ``cropper/`` with ``history.json`` and ``evaluation.json``; crops_dir: has ``crops.json``. What is
    not there yet is named on the page with the command that makes it. The same run gives the same page.
    Raises DamagedDataError for a table or receipt that is not readable, StorageError when ``out`` cannot be written.
    """
    material = Material(RunReader(run, stages), Album(), models_dir, crops_dir, run.store.url)
    head = overview(material)
    sections = [make(material) for make in SECTIONS] if head.begun else []
    sections = [section for section in sections if not section.empty]
    credits = credits_of(material)
    html = (
        _environment()
        .get_template("page.html")
        .render(head=head, sections=sections, credits=credits, pictures=list(material.album.pictures.values()))
    )
    data = {"overview": asdict(head), "sections": {s.name: _data_of(s) for s in sections}, "credits": credits}
    _write(out.with_name(DATA), json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n")
    _write(out, html)
    return out


def _data_of(section: Section) -> object:
    return {"missing": section.missing, "command": section.command} if section.missing else section.data


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report", "templates"),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True,
    )  # fmt: skip
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["duration"] = duration_text
    environment.filters["day"] = lambda stamp: datetime.fromtimestamp(stamp, UTC).strftime("%-d %B %Y, %H:%M UTC")
    return environment


def _write(path: Path, text: str) -> None:
    """Write aside and rename, so that a reader never sees a partial page."""
    with storage_errors(str(path)), replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")
