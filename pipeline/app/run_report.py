"""``report``: one HTML page about a run, with crops of its held-out photographs."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.app.crop_files.crop_photos import crop_file
from pipeline.app.crop_files.inputs import find_model
from pipeline.app.result_stamp import is_made_from, key_of, mark
from pipeline.app.session import Session, local_folder, open_existing
from pipeline.core.errors import SampleError, UsageError
from pipeline.core.records import Source
from pipeline.core.resources import file_digest
from pipeline.runs.run_directory import SOURCES

TOP = 3
MAX_PHOTOS = 24


@dataclass(frozen=True)
class _Split:
    """The columns of ``Photo`` that are needed."""

    key: str
    split: str


@dataclass(frozen=True)
class ReportRequest:
    """A run directory, and the file for its page; empty: ``report/index.html`` in the run directory."""

    work: str = "work"
    out: str = ""


def write_run_report(request: ReportRequest) -> Path:
    """Write the page and give its path. Raises UsageError if there is no run directory."""
    from pipeline.report import write_report

    session = open_existing(request.work)
    if not any(session.run.receipts(stage.name) for stage in session.stages):
        raise UsageError(
            f"nothing to report on in '{request.work}': no stage has made anything; 'procrop-data run' starts"
        )
    root = local_folder(session, [])
    page = Path(request.out) if request.out else root / "report" / "index.html"
    crops = root / "report" / "crops"
    if (root / "models" / "cropper" / "cropper" / "config.json").is_file():
        crop_held_out(session, crops, top=TOP)
    write_report(session.run, session.stages, models_dir=root / "models", crops_dir=crops, out=page)
    return page


def crop_held_out(session: Session, out: Path, top: int) -> None:
    """Crop photographs of the test split with the run's cropper; nothing is done if model and photographs are unchanged."""
    from stages.photos.source_readers import read_source

    folder, path = find_model("", session.run.store.url), out / "crops.json"
    key = key_of([top, file_digest(str(folder / "config.json"))], session.run.receipts("ingest"))
    if is_made_from(path, key):
        return
    from procrop_model import Cropper  # imports torch, so only if there is something to crop

    cropper = Cropper.load(folder, precision="fp32")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.jpg"):
        old.unlink()  # its photograph may have been taken down
    entries = []
    settings = session.recipe.ingest
    for photo in _held_out_photos(session):
        file, title = out / f"{photo.key}.jpg", photo.title
        try:
            place = (photo.offset, photo.size)
            file.write_bytes(read_source(settings.source, photo.uri, settings.lists, place=place))
        except (OSError, SampleError):
            continue  # the photograph has gone since
        entries.append({**crop_file(cropper, file, top=top), "file": file.name, "title": title})
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")
    mark(path, key)


def _held_out_photos(session: Session) -> list[Source]:
    """The files of the first photographs of the test split, by key."""
    tables, found = session.run.tables(), []
    for shard in tables.shards("ingest"):
        held_out = {photo.key for photo in tables.rows("ingest", shard, _Split) if photo.split == "test"}
        found += [source for source in tables.rows(SOURCES, shard, Source) if source.key in held_out]
    return sorted(found, key=lambda source: source.key)[:MAX_PHOTOS]
