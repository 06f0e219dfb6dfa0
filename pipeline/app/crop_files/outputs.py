"""Forms that crops are written in: a table on the terminal, CSV, and XMP sidecars that raw developers read."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.app.crop_files.entries import CropRecord, PhotoRecord
from pipeline.core.console import cell, plain_console
from pipeline.core.escaping import csv_cell, xml_attribute

Box = Sequence[float]
COLUMNS = ("file", "crop", "x1", "y1", "x2", "y2", "score", "whole_score", "aspect", "aspect_name", "subject_kept", "fulfilled",
           "faces", "heads_cut", "faces_cut", "unchanged", "written_to", "error")  # fmt: skip
# Where a point (x, y) in 0..1 of the upright picture lies in the stored one, by EXIF orientation.
STORED: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y), 2: lambda x, y: (1 - x, y), 3: lambda x, y: (1 - x, 1 - y), 4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x), 6: lambda x, y: (y, 1 - x), 7: lambda x, y: (1 - y, 1 - x), 8: lambda x, y: (1 - y, x),
}  # fmt: skip


def to_stored(box: Box, orientation: int) -> tuple[float, float, float, float]:
    """Convert a box xyxy in 0..1 of the upright picture to one of the picture as the file stores it.

    orientation: the EXIF value, 1 to 8.
    """
    turn = STORED.get(orientation, STORED[1])
    (xa, ya), (xb, yb) = turn(box[0], box[1]), turn(box[2], box[3])
    return (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))


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
    """Print one row per crop on standard output."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("photo", overflow="fold")
    table.add_column("crop", justify="right", overflow="fold")
    table.add_column("score", justify="right", overflow="fold")
    table.add_column("box x1 y1 x2 y2", overflow="fold")
    has_aspects = any(crop["aspect_name"] not in ("", "free") for entry in entries for crop in entry["crops"])
    if has_aspects:
        table.add_column("aspect", overflow="fold")
    has_notes = any(_note(crop) for entry in entries for crop in entry["crops"])
    if has_notes:
        table.add_column("note", overflow="fold")
    table.add_column("guided by", overflow="fold")
    table.add_column("written to", overflow="fold")
    for entry in entries:
        for number, crop in enumerate(entry["crops"]):
            name = f"{Path(entry['file']).name} ({entry['width']}x{entry['height']})" if number == 0 else ""
            box = " ".join(str(v) for v in crop["box_px"])
            aspects = [crop["aspect_name"]] if has_aspects else []
            notes = [_note(crop)] if has_notes else []
            titles = ", ".join(r["title"] or "untitled" for r in crop["references"][:2]) if number == 0 else ""
            target = entry["files"][number] if entry["files"] else ""
            table.add_row(
                cell(name), str(number + 1), f"{crop['score']:.2f}", box, *aspects, *notes, cell(titles), cell(target)
            )
    plain_console().print(table)


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
