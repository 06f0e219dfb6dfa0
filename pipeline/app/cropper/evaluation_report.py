"""Files of an evaluation: the result as JSON, a Parquet table with one row per picture, and a sheet of the worst pictures."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

WORST, COLUMNS, CELL = 12, 4, 260


def write_files(result: Mapping[str, Any], path: Path, pictures: Mapping[str, Callable[[], bytes]]) -> None:
    """Write a result to ``path`` (JSON), and beside it ``*.parquet`` and ``*-worst.png``.

    pictures: by key, a function that reads the bytes of the picture.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([flatten(row) for row in result["images"]]), path.with_suffix(".parquet"))
    sheet = worst_sheet(result["images"], pictures)
    if sheet:
        path.with_name(f"{path.stem}-worst.png").write_bytes(sheet)


def flatten(row: Mapping[str, object]) -> dict[str, object]:
    """The row of a picture with nested metrics as columns ``model.iou`` and so on."""
    columns: dict[str, object] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            columns.update({f"{name}.{inner}": float(figure) for inner, figure in value.items()})
        else:
            columns[name] = value
    return columns


def merit(row: Mapping[str, Any]) -> float:
    """The metric that pictures are ranked by: IoU, else SRCC, else the first."""
    metrics: Mapping[str, float] = row["model"]
    return next(
        (float(metrics[name]) for name in ("iou", "srcc") if name in metrics), float(next(iter(metrics.values())))
    )


def worst_sheet(images: Sequence[Mapping[str, Any]], pictures: Mapping[str, Callable[[], bytes]]) -> bytes:
    """PNG of the worst pictures, worst first: annotations in white, the model's crop in orange. Empty if no picture has a box."""
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
