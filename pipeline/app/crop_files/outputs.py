"""Forms that crops are written in: a table on the terminal, CSV, and XMP sidecars that raw developers read."""

import csv
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.app.crop_files.entries import CropRecord, PhotoRecord
from pipeline.core.console import cell, plain_console, say
from pipeline.core.escaping import csv_cell, xml_attribute
from pipeline.core.pictures import to_stored

Box = Sequence[float]
PIPED_WIDTH = 1000  # characters of a line that a program reads: names of files stay whole
COLUMNS = ("file", "crop", "x1", "y1", "x2", "y2", "score", "whole_score", "aspect", "aspect_name", "subject_kept", "fulfilled",
           "faces", "heads_cut", "faces_cut", "unchanged", "written_to", "error")  # fmt: skip


def xmp_of(box: Box, orientation: int) -> str:
    """An XMP sidecar with a crop in Camera Raw's fields. box: xyxy in 0..1 of the upright picture.

    Camera Raw's fields refer to the picture as stored, before it is turned by ``tiff:Orientation`` (darktable's import of
    such sidecars reads them so, too), hence ``to_stored``.
    """
    left, top, right, bottom = to_stored(box, orientation)
    fields = {
        "tiff:Orientation": str(orientation), "crs:HasCrop": "True", "crs:CropTop": f"{top:.6f}",
        "crs:CropLeft": f"{left:.6f}", "crs:CropBottom": f"{bottom:.6f}", "crs:CropRight": f"{right:.6f}",
        "crs:CropAngle": "0", "crs:AlreadyApplied": "False",
    }  # fmt: skip
    written = "\n".join(f"   {name}={xml_attribute(value)}" for name, value in fields.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""\n   xmlns:tiff="http://ns.adobe.com/tiff/1.0/"\n'
        '   xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"\n'
        f'{written}/>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
    )


def write_csv(entries: Sequence[PhotoRecord], path: Path) -> None:
    """Write one row per crop, and one with an ``error`` per photograph that could not be cropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        for entry in entries:
            if "error" in entry:
                writer.writerow({"file": csv_cell(entry["file"]), "error": csv_cell(entry["error"])})
            files = entry.get("files") or [""] * len(entry["crops"])
            for number, (crop, written) in enumerate(zip(entry["crops"], files, strict=True), 1):
                box = dict(zip(("x1", "y1", "x2", "y2"), crop["box_px"], strict=True))
                cells = {name: csv_cell(value) for name, value in crop.items() if value is not None}
                names = {"file": csv_cell(entry["file"]), "written_to": csv_cell(written)}
                writer.writerow({"crop": number, **names, **cells, **box})


def print_table(entries: Sequence[PhotoRecord]) -> None:
    """Print one row per crop on standard output. Names of crops are below the folder that holds them all, which comes last."""
    from rich.table import Table

    rows = [(entry, number, crop) for entry in entries if entry["crops"] for number, crop in enumerate(entry["crops"])]
    home = common_folder([file for entry in entries for file in entry["files"]])
    columns: dict[str, Callable[[PhotoRecord, int, CropRecord], str]] = {
        "photo": lambda entry, number, crop: (
            "" if number else f"{Path(entry['file']).name} ({entry['width']}x{entry['height']})"
        ),
        "crop": lambda entry, number, crop: str(number + 1),
        "score": lambda entry, number, crop: f"{crop['score']:.2f}",
        "box x1 y1 x2 y2": lambda entry, number, crop: " ".join(map(str, crop["box_px"])),
        "aspect": lambda entry, number, crop: crop["aspect_name"].replace("free", ""),
        "note": lambda entry, number, crop: _note(crop),
        "written to": lambda entry, number, crop: (
            os.path.relpath(entry["files"][number], home) if entry["files"] else ""
        ),
    }
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = [name for name, text in columns.items() if any(text(*row) for row in rows)]
    for name in shown:
        table.add_column(name, justify="right" if name in ("crop", "score") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(columns[name](*row) or ("free" if name == "aspect" else "")) for name in shown))
    console = plain_console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
    console.print(table)
    if home:
        console.print(cell(f"crops are in {home}"), soft_wrap=True)


def common_folder(files: Sequence[str]) -> str:
    """The folder that holds all files, directly or in folders of its own; empty without any."""
    return os.path.commonpath([os.path.dirname(file) or "." for file in files]) if files else ""


def print_explanations(entries: Sequence[PhotoRecord]) -> None:
    """Print why the best crop of each photograph was chosen, on standard output."""
    for entry in entries:
        for crop in entry["crops"][:1]:
            say(f"{Path(entry['file']).name}: {crop.get('explanation', {}).get('text', '')}")


def _note(crop: CropRecord) -> str:
    notes = []
    if crop["unchanged"]:
        notes.append("left whole")
    if (kept := crop["subject_kept"]) is not None:
        notes.append(f"subject {kept:.0%}")
    if crop["faces_cut"]:
        notes.append(f"cuts {_counted(crop['faces_cut'], 'face')}")
    elif crop["heads_cut"]:
        notes.append(f"cuts {_counted(crop['heads_cut'], 'head')}, no face")
    if not crop["fulfilled"]:
        notes.append("limits not met")
    if fewer := crop.get("fewer"):
        notes.append(f"no more: {fewer}")
    return ", ".join(notes)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
