"""A strip of panels that shows the whole pipeline on one canvas: photo, canvas, proposals, kept crops."""

import io
from collections.abc import Sequence
from typing import TypeVar

import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.core.errors import UsageError
from pipeline.core.pictures import decoder_errors, upright
from pipeline.core.records import Canvas, Crops, Proposals
from pipeline.core.seeds import shard_of
from pipeline.runs.run_directory import Run
from pipeline.shards import parquet

PANEL = (400, 340)
GAP, MARGIN, CAPTION, TEXT = 26, 22, 38, 19
SHOWN_CROPS, SHOWN_PROPOSALS = 3, 28
PAPER, INK, EDGE = (250, 250, 249), (32, 32, 36), (20, 20, 22)
PHOTO, PROPOSAL, CROP = (255, 255, 255), (56, 189, 248), (255, 159, 28)
# Lines are drawn this much larger and reduced, so that they are smooth.
FINE = 2

Box = Sequence[float]
Record = TypeVar("Record")
Stroke = tuple[Box, tuple[int, int, int], int]


def story_strip(run: Run, key: str) -> Image.Image:
    """RGB image of the steps of one canvas: the photo, the canvas with its rectangle, its proposals, its kept crops.

    key: of a canvas that passed the filter. Raises UsageError for another, MissingUpstreamError before the filter ran.
    """
    shard = shard_of(key.split("-")[0], run.plan.work_shards)
    verdict = _kept(run, "filter", shard, key, Crops)
    if verdict is None:
        raise UsageError(f"'{key}' is not a kept canvas of '{run.store.url}': the report shows keys of kept ones")
    canvas, proposals = _kept(run, "outpaint", shard, key, Canvas), _kept(run, "propose", shard, key, Proposals)
    assert canvas is not None and proposals is not None
    painted, label = _image(run, "outpaint", shard, key), canvas.photo_box
    crops = verdict.boxes[1 : SHOWN_CROPS + 1]
    tried = proposals.boxes[1:]
    shown = tried[:: max(1, len(tried) // SHOWN_PROPOSALS)][:SHOWN_PROPOSALS]
    original = _image(run, "ingest", shard, verdict.photo)
    height = _common_height([original, painted])
    strokes: list[tuple[str, list[Stroke]]] = [
        ("out-painted canvas", [(label, PHOTO, 3)]),
        (f"{len(tried)} proposals", [*((box, PROPOSAL, 1) for box in shown), (label, PHOTO, 3)]),
        ("kept by score", [*((box, CROP, 3) for box in crops), (label, PHOTO, 3)]),
    ]
    cuts = [
        painted.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        for box in crops or [list(map(float, label))]
    ]
    panels = [
        ("professional photograph", _scaled(original, height)),
        *((words, _drawn(painted, boxes, height)) for words, boxes in strokes),
        ("crops", _column(cuts, height)),
    ]
    return _compose(panels)


def _kept(run: Run, stage: str, shard: int, key: str, record: type[Record]) -> Record | None:
    """The record of a kept sample; None when it was not kept."""
    table = parquet.kept_table(run.table(stage, shard, ["status", *parquet.columns_of(record)]))
    return next((one for one in parquet.records_of(record, table.filter(pc.equal(table["key"], key)))), None)


def _image(run: Run, stage: str, shard: int, key: str) -> Image.Image:
    receipt = run.receipt(stage, shard)
    row = next(
        (row for row in run.rows(stage, shard, ["key", "image_offset", "image_size"]) if row["key"] == key), None
    )
    assert receipt is not None and row is not None
    data = run.store.read_range(run.output_of(receipt, ".tar"), row["image_offset"], row["image_size"])
    with decoder_errors(), Image.open(io.BytesIO(data)) as image:
        return upright(image).convert("RGB")


def _common_height(images: Sequence[Image.Image]) -> int:
    """The height at which each picture, scaled to it, fits a panel."""
    return min(PANEL[1], *(PANEL[0] * image.height // image.width for image in images))


def _scaled(image: Image.Image, height: int) -> Image.Image:
    size = (max(1, round(image.width * height / image.height)), height)
    return image.resize(size, Image.Resampling.LANCZOS)


def _drawn(image: Image.Image, strokes: Sequence[Stroke], height: int) -> Image.Image:
    """The picture at a height with boxes (pixels of the original), thick ones with a dark edge."""
    out = _scaled(image, height * FINE)
    pen, scale = ImageDraw.Draw(out), out.width / image.width
    for box, colour, width in strokes:
        x1, y1, x2, y2 = (round(v * scale) for v in box)
        if width > 1:
            pen.rectangle((x1 - FINE, y1 - FINE, x2 + FINE - 1, y2 + FINE - 1), outline=EDGE, width=(width + 2) * FINE)
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=width * FINE)
    return out.resize((out.width // FINE, out.height // FINE), Image.Resampling.LANCZOS)


def _column(images: Sequence[Image.Image], height: int) -> Image.Image:
    """Pictures below one another, in all ``height`` pixels high."""
    space, each = 8, (height - 8 * (len(images) - 1)) // len(images)
    parts = [ImageOps.contain(image, (PANEL[0], each), Image.Resampling.LANCZOS) for image in images]
    out = Image.new("RGB", (max(part.width for part in parts), height), PAPER)
    for index, part in enumerate(parts):
        out.paste(part, ((out.width - part.width) // 2, index * (each + space)))
    return out


def _compose(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Panels side by side, centred, an arrow between them and a caption under each."""
    font = ImageFont.load_default(TEXT)
    widths = [max(image.width, round(font.getlength(words))) for words, image in panels]
    tallest = max(image.height for _, image in panels)
    out = Image.new("RGB", (sum(widths) + GAP * (len(panels) - 1) + 2 * MARGIN, tallest + CAPTION + 2 * MARGIN), PAPER)
    pen, x = ImageDraw.Draw(out), MARGIN
    for index, ((words, image), width) in enumerate(zip(panels, widths, strict=True)):
        out.paste(image, (x + (width - image.width) // 2, MARGIN + (tallest - image.height) // 2))
        pen.text((x + width // 2, MARGIN + tallest + CAPTION - 6), words, fill=INK, font=font, anchor="ms")
        if index:
            middle, left = MARGIN + tallest // 2, x - GAP + 7
            pen.polygon([(left, middle - 7), (left, middle + 7), (left + 12, middle)], fill=INK)
        x += width + GAP
    return out
