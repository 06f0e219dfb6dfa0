"""The picture that explains a crop: its cells tinted by the references that they looked at, and the references beside it."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.geometry import BoxPx
from procrop_model.inference.attention_maps import Guidance
from procrop_model.retrieval.database import Reference

Thumbnails = Callable[[Reference], Image.Image | None]
HEIGHT, THUMB, GAP, LINE = 560, 150, 12, 15
# Okabe and Ito's colours, told apart by most eyes.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
FULL_TINT = 0.85  # share of a cell's attention at which its tint is strongest
STRONGEST = 0.6  # opacity


def draw(
    original: Image.Image, box_px: BoxPx, guidance: Guidance, told: str, thumbnails: Thumbnails | None = None
) -> Image.Image:
    """RGB: the picture at left with a legend, the references at right, each framed in its colour."""
    scale = HEIGHT / max(original.size)
    size = (max(1, round(original.width * scale)), max(1, round(original.height * scale)))
    query = _tinted(original.resize(size, Image.Resampling.LANCZOS), guidance)
    frame = ImageDraw.Draw(query)
    outline = [round(v * scale) for v in box_px]
    frame.rectangle(outline, outline="black", width=5)
    frame.rectangle(outline, outline="white", width=3)
    rows = len(guidance.guides)
    height = max(size[1] + 2 * LINE + 3 * GAP, rows * (THUMB * 2 // 3 + GAP) + GAP)
    sheet = Image.new("RGB", (size[0] + THUMB + 3 * GAP + 280, height), "white")
    sheet.paste(query, (GAP, GAP))
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, size[1] + 2 * GAP), told, fill="black", font=ImageFont.load_default(LINE))
    for k in range(rows):
        _reference(sheet, guidance, k, (size[0] + 2 * GAP, GAP + k * (THUMB * 2 // 3 + GAP)), thumbnails)
    return sheet


def _tinted(picture: Image.Image, guidance: Guidance) -> Image.Image:
    if not guidance.shares.size:
        return picture
    shares = guidance.shares  # [H, W, K]
    colours = np.array([COLOURS[k % len(COLOURS)] for k in range(shares.shape[-1])], np.float32)
    strength = np.clip(shares.sum(-1) / FULL_TINT, 0, 1) * STRONGEST
    tint = Image.fromarray(colours[shares.argmax(-1)].astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    mask = Image.fromarray((strength * 255).astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(tint, picture, mask)


def _reference(
    sheet: Image.Image, guidance: Guidance, k: int, at: tuple[int, int], thumbnails: Thumbnails | None
) -> None:
    """A reference's thumbnail, the brighter the more a cell of it was looked at, and what is known of it."""
    guide, pen = guidance.guides[k], ImageDraw.Draw(sheet)
    colour, high = COLOURS[k % len(COLOURS)], THUMB * 2 // 3
    known = thumbnails(guide.reference) if thumbnails is not None else None
    small = (known or Image.new("RGB", (THUMB, high), "lightgrey")).convert("RGB").resize((THUMB, high))
    if known is not None and guidance.cells.size:
        seen = guidance.cells[k] / max(float(guidance.cells[k].max()), 1e-9)
        mask = Image.fromarray((255 * (0.35 + 0.65 * seen)).astype(np.uint8)).resize(
            small.size, Image.Resampling.BILINEAR
        )
        small = Image.composite(small, Image.new("RGB", small.size, "black"), mask)
    sheet.paste(small, at)
    pen.rectangle([at[0] - 2, at[1] - 2, at[0] + THUMB + 1, at[1] + high + 1], outline=colour, width=3)
    lines = [
        f"{k + 1}. {guide.reference.title or 'untitled'}"[:44],
        f"by {guide.reference.author or 'unknown'}"[:44],
        f"similarity {guide.similarity:.2f}, attention {guide.weight:.0%}",
    ]
    for number, line in enumerate(lines):
        pen.text(
            (at[0] + THUMB + GAP, at[1] + number * (LINE + 4)),
            line,
            fill="black",
            font=ImageFont.load_default(LINE - 2),
        )
