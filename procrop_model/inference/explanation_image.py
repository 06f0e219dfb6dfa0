"""The image that explains a crop: cells tinted by the reference they attend to most, beside the references themselves."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.geometry import BoxPx
from procrop_model.inference.attention_maps import AttentionMaps
from procrop_model.retrieval.database import Reference

Thumbnails = Callable[[Reference], Image.Image | None]
HEIGHT, THUMB, GAP, LINE = 560, 150, 12, 15  # pixels
# Okabe and Ito's colours, which readers with colour vision deficiencies can distinguish.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
FULL_TINT = 0.85  # share of a cell's attention from which on its tint is strongest
STRONGEST = 0.6  # opacity of that tint: the image stays visible below


def draw_explanation(
    original: Image.Image, box_px: BoxPx, maps: AttentionMaps, caption: str, thumbnails: Thumbnails | None = None
) -> Image.Image:
    """An RGB image: ``original`` with the crop's frame and ``caption`` left, the references right, framed in their colours."""
    scale = HEIGHT / max(original.size)
    size = (max(1, round(original.width * scale)), max(1, round(original.height * scale)))
    query = _tinted(original.resize(size, Image.Resampling.LANCZOS), maps)
    frame = ImageDraw.Draw(query)
    outline = [round(v * scale) for v in box_px]
    frame.rectangle(outline, outline="black", width=5)
    frame.rectangle(outline, outline="white", width=3)
    rows = len(maps.references)
    height = max(size[1] + 2 * LINE + 3 * GAP, rows * (THUMB * 2 // 3 + GAP) + GAP)
    sheet = Image.new("RGB", (size[0] + THUMB + 3 * GAP + 280, height), "white")
    sheet.paste(query, (GAP, GAP))
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, size[1] + 2 * GAP), caption, fill="black", font=ImageFont.load_default(LINE))
    for k in range(rows):
        _reference(sheet, maps, k, (size[0] + 2 * GAP, GAP + k * (THUMB * 2 // 3 + GAP)), thumbnails)
    return sheet


def _tinted(picture: Image.Image, maps: AttentionMaps) -> Image.Image:
    if not maps.shares.size:
        return picture
    shares = maps.shares  # [H, W, K]
    colours = np.array([COLOURS[k % len(COLOURS)] for k in range(shares.shape[-1])], np.float32)
    strength = np.clip(shares.sum(-1) / FULL_TINT, 0, 1) * STRONGEST
    tint = Image.fromarray(colours[shares.argmax(-1)].astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    mask = Image.fromarray((strength * 255).astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(tint, picture, mask)


def _reference(
    sheet: Image.Image, maps: AttentionMaps, k: int, at: tuple[int, int], thumbnails: Thumbnails | None
) -> None:
    """Draws a reference: its thumbnail, brighter where it received attention, with title, author, similarity and attention."""
    attention, pen = maps.references[k], ImageDraw.Draw(sheet)
    colour, high = COLOURS[k % len(COLOURS)], THUMB * 2 // 3
    known = thumbnails(attention.reference) if thumbnails is not None else None
    small = (known or Image.new("RGB", (THUMB, high), "lightgrey")).convert("RGB").resize((THUMB, high))
    if known is not None and maps.cells.size:
        brightness = maps.cells[k] / max(float(maps.cells[k].max()), 1e-9)
        mask = Image.fromarray((255 * (0.35 + 0.65 * brightness)).astype(np.uint8)).resize(
            small.size, Image.Resampling.BILINEAR
        )
        small = Image.composite(small, Image.new("RGB", small.size, "black"), mask)
    sheet.paste(small, at)
    pen.rectangle([at[0] - 2, at[1] - 2, at[0] + THUMB + 1, at[1] + high + 1], outline=colour, width=3)
    lines = [
        f"{k + 1}. {attention.reference.title or 'untitled'}"[:44],
        f"by {attention.reference.author or 'unknown'}"[:44],
        f"similarity {attention.similarity:.2f}, attention {attention.weight:.0%}",
    ]
    for number, line in enumerate(lines):
        pen.text(
            (at[0] + THUMB + GAP, at[1] + number * (LINE + 4)),
            line,
            fill="black",
            font=ImageFont.load_default(LINE - 2),
        )
