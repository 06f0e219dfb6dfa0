"""Contact sheets: small images with boxes drawn on them, for the dataset card and evaluation reports."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

CELL = 240
GAP = 8
COLUMNS = 4
BACKGROUND = (24, 24, 27)
PHOTO_COLOUR = (255, 255, 255)
CROP_COLOUR = (255, 159, 28)

Box = Sequence[float]


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[Box, tuple[int, int, int]]], scale: float) -> Image.Image:
    """A copy scaled by ``scale`` with outlines drawn. boxes: ((x1, y1, x2, y2) in pixels of the original, RGB colour)."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    out = image.resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(out)
    for box, colour in boxes:
        x1, y1, x2, y2 = (v * scale for v in box)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=2)
    return out


def sheet_of(pictures: Sequence[tuple[bytes, Box, Sequence[Box]]]) -> bytes:
    """JPEG of a grid of canvases. pictures: (encoded image, rectangle of the photo, other crops), boxes in pixels."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + GAP) + GAP, max(1, rows) * (CELL + GAP) + GAP), BACKGROUND)
    for index, (data, photo_box, crops) in enumerate(pictures):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        boxes = [*((box, CROP_COLOUR) for box in crops), (photo_box, PHOTO_COLOUR)]
        cell = draw_boxes(image, boxes, CELL / max(image.size))
        x = GAP + index % COLUMNS * (CELL + GAP) + (CELL - cell.width) // 2
        y = GAP + index // COLUMNS * (CELL + GAP) + (CELL - cell.height) // 2
        sheet.paste(cell, (x, y))
    sink = io.BytesIO()
    sheet.save(sink, "JPEG", quality=90)
    return sink.getvalue()
