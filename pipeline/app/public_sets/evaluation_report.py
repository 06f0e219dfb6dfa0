"""What an evaluation leaves beside its figures: the JSON, a Parquet of every picture, and a sheet of the worst."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WORST, COLUMNS, CELL = 12, 4, 260


def write_files(result: dict[str, Any], told: Path, pictures: Mapping[str, Callable[[], bytes]]) -> None:
    """Write ``told`` (JSON), and beside it ``*.parquet`` and ``*-worst.png``. pictures: what gives the bytes of each, by key."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    told.write_text(json.dumps(result, indent=1), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([flat(row) for row in result["images"]]), told.with_suffix(".parquet"))
    sheet = worst_sheet(result["images"], pictures)
    if sheet:
        told.with_name(f"{told.stem}-worst.png").write_bytes(sheet)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A picture's row with columns ``model.iou`` and so on."""
    columns: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            columns.update({f"{name}.{inner}": float(figure) for inner, figure in value.items()})
        else:
            columns[name] = value
    return columns


def merit(row: Mapping[str, Any]) -> float:
    """The figure by which pictures are called bad: IoU, else SRCC, else the first."""
    figures: Mapping[str, float] = row["model"]
    return next(
        (float(figures[name]) for name in ("iou", "srcc") if name in figures), float(next(iter(figures.values())))
    )


def worst_sheet(images: list[dict[str, Any]], pictures: Mapping[str, Callable[[], bytes]]) -> bytes:
    """PNG of the worst pictures, worst first: annotations in white, the model's choice in orange. Empty when none has a box."""
    from PIL import Image, ImageDraw

    from pipeline.shards.contact_sheet import BACKGROUND, CROP_COLOUR, GAP, PHOTO_COLOUR, draw_boxes

    rows = sorted((row for row in images if row["box_px"]), key=lambda row: (merit(row), row["key"]))[:WORST]
    if not rows:
        return b""
    lines, step, label = -(-len(rows) // COLUMNS), CELL + GAP, 14
    sheet = Image.new("RGB", (COLUMNS * step + GAP, lines * (step + label) + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for index, row in enumerate(rows):
        image = Image.open(io.BytesIO(pictures[row["key"]]())).convert("RGB")
        wanted = row.get("annotations") or [row["photo_box"]]
        boxes = [*((box, PHOTO_COLOUR) for box in wanted), (row["box_px"], CROP_COLOUR)]
        cell = draw_boxes(image, boxes, CELL / max(image.size))
        x, y = GAP + index % COLUMNS * step, GAP + index // COLUMNS * (step + label)
        sheet.paste(cell, (x + (CELL - cell.width) // 2, y + (CELL - cell.height) // 2))
        pen.text((x, y + CELL), f"{merit(row):.2f}  {row['key'][:34]}", fill=PHOTO_COLOUR)
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    return sink.getvalue()
