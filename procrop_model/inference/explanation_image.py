"""The image that explains a crop: the crop in the dimmed photo, what the model wanted without limits, and the references."""

from collections.abc import Callable, Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from pipeline.core.geometry import BoxPx
from procrop_model.inference.explanation import Explanation, ReferenceWeight
from procrop_model.retrieval.database import Reference

Thumbnails = Callable[[Reference], Image.Image | None]
LONG_SIDE, THUMB, GAP, LINE = 720, (180, 120), 16, 17  # pixels
BESIDE = 260  # width in pixels of the text beside a reference
DIMMED = 0.45  # brightness of what is left out
OWN, FREE = (255, 255, 255), (230, 159, 0)  # frames of the crop, and of the one without limits
SHOWN = 4  # references


def draw_explanation(
    original: Image.Image, box_px: BoxPx, explanation: Explanation, thumbnails: Thumbnails | None = None
) -> Image.Image:
    """An RGB image: ``original`` with the crop bright left, references right, and the sentences below."""
    scale = LONG_SIDE / max(original.size)
    photo = _with_frames(original, box_px, explanation, scale)
    references = explanation.references[:SHOWN]
    wide = photo.width + 2 * GAP + (THUMB[0] + BESIDE + 2 * GAP if references else 0)
    font = ImageFont.load_default(LINE)
    lines = _wrapped(explanation.sentences, font, wide - 2 * GAP)
    below = max(photo.height + 2 * GAP, len(references) * (THUMB[1] + GAP) + GAP)
    sheet = Image.new("RGB", (wide, below + len(lines) * (LINE + 6) + GAP), "white")
    sheet.paste(photo, (GAP, GAP))
    for number, one in enumerate(references):
        _draw_reference(sheet, one, (photo.width + 2 * GAP, GAP + number * (THUMB[1] + GAP)), thumbnails)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((GAP, below + number * (LINE + 6)), line, fill="black", font=font)
    return sheet


def _with_frames(original: Image.Image, box_px: BoxPx, explanation: Explanation, scale: float) -> Image.Image:
    size = (max(1, round(original.width * scale)), max(1, round(original.height * scale)))
    photo = original.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    outline = _scaled(box_px, scale)
    shown = photo.point(lambda value: round(value * DIMMED))
    shown.paste(photo.crop(outline), outline[:2])
    pen = ImageDraw.Draw(shown)
    if explanation.without_limits is not None:
        _frame(pen, _scaled(explanation.without_limits, scale), FREE)
    _frame(pen, outline, OWN)
    return shown


def _scaled(box: BoxPx, scale: float) -> BoxPx:
    x1, y1, x2, y2 = (round(value * scale) for value in box)
    return (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def _frame(pen: ImageDraw.ImageDraw, box: BoxPx, colour: tuple[int, int, int]) -> None:
    inner = (box[0], box[1], box[2] - 1, box[3] - 1)
    pen.rectangle(inner, outline="black", width=5)
    pen.rectangle(inner, outline=colour, width=3)


def _wrapped(sentences: Sequence[str], font: ImageFont.ImageFont | ImageFont.FreeTypeFont, wide: int) -> list[str]:
    """Lines of at most ``wide`` pixels; each sentence begins a line."""
    letter = font.getlength("e") + 0.5
    return [line for sentence in sentences for line in wrap(sentence, max(10, int(wide / letter)))]


def _draw_reference(
    sheet: Image.Image, one: ReferenceWeight, at: tuple[int, int], thumbnails: Thumbnails | None
) -> None:
    """Draws a reference: its picture, if it is at hand, with title, author, similarity and share of the attention."""
    known = thumbnails(one.reference) if thumbnails is not None else None
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 3)
    if known is not None:
        small = known.convert("RGB")
        small.thumbnail(THUMB)
        sheet.paste(small, at)
    else:
        pen.rectangle([at[0], at[1], at[0] + THUMB[0] - 1, at[1] + THUMB[1] - 1], outline="lightgrey")
        pen.text((at[0] + 8, at[1] + 8), "its picture is not here", fill="grey", font=font)
    facts = f"similarity {one.similarity:.2f}" + (f", attention {one.weight:.0%}" if one.weight else "")
    texts = (one.reference.title or "untitled", f"by {one.reference.author or 'unknown'}", facts)
    lines = [line for text in texts for line in _wrapped([text], font, BESIDE)[:2]]
    for number, line in enumerate(lines):
        pen.text((at[0] + THUMB[0] + GAP, at[1] + number * (LINE + 3)), line, fill="black", font=font)
