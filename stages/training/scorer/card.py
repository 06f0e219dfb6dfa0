"""The model card of a trained scorer, with its figures and pictures of where it fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw

from stages.training.scorer.pair_accuracy import Failure, Judgement
from stages.training.scorer.report_text import figures_text

CELL = 200

_CARD = """# Composition scorer

Judges how well a crop is composed: 0 to 10, where 5 means even odds against a typical bad crop of the same area.

- **Architecture.** One EfficientNet-Lite0 pass and one U2-NetP mask a picture, then any number of crops. RoIAlign of the
  maps of strides 8 and 16 in strips just inside and outside each side (does the content go on, end, or get cut there?),
  of strides 16 and 32 pooled over the crop, its middle, its edge and its surroundings; where the subject lies, what of
  it is kept and cut, its margins. A small ranking head, five members averaged. Left and right are never told apart, and
  of the aspect only what goes beyond 16:9 either way.
- **Licence.** Apache-2.0. The weights ({size} KB) hold no photograph.
- **Data.** {train} photographs to train on, {val} to validate, {test} held out; authors and licences in the
  `credits.csv` beside them. Of each, {variants} out-painted canvases with the photo's own rectangle as the good crop,
  and {insides} sets of crops inside the photo, or inside a part of it, ranked by the subject that they keep. The crops
  of a pair have equal area. Every picture was resized, blurred, given noise and re-encoded as a whole, and every other
  one mirrored, to weaken the seam and the side as cues.
  Train: {train_names}.
  Validation: {val_names}.
  Held out: {test_names}.
- **Command.** `procrop-data train-scorer`: {seconds}; out-painter {outpainter}; digest `{digest}`.

## Held-out figures

{figures}

*shifted*: the photo's window elsewhere on its canvas, moved by at least a fifth of a side. *tilted*: the same centre to
within some 5 % of a side, moved only to stay on the canvas, the same area, an aspect 1.4 to 2.4 times wider or narrower.
*subject-cut*: a window of that area that keeps at most three quarters of the subject. *inside*: crops within the photo,
nothing painted; the label is our own rule, so this row measures agreement with that rule on photos not seen.

## Limits

On canvases the scorer can still use that painted surroundings look emptier than a photo, whatever the seam; the
*inside* row is free of that. Where a tilted window is the worse one only because the photographer did not choose it, the
label is a convention. Scores compare crops of like size best. A picture without one clear subject is judged by the
encoder alone. There are almost no people among the bundled photographs.

## Failures

![pairs that it ranks wrongly: green the better crop, red the one it preferred](failures.jpg)
"""


def write_card(folder: Path, report: dict[str, Any], judgement: Judgement) -> None:
    """Write ``README.md`` and, where the scorer fails, ``failures.jpg``."""
    photos = report["photos"]
    text = _CARD.format(
        size=round((folder / "model.safetensors").stat().st_size / 1024),
        **{split: len(found) for split, found in photos.items()},
        **{f"{split}_names": ", ".join(found) or "none" for split, found in photos.items()},
        variants=report["settings"]["variants"],
        insides=report["settings"]["insides"],
        seconds=", ".join(f"{name} {took} s" for name, took in report["seconds"].items()),
        outpainter=report["outpainter"],
        digest=report["digest"],
        figures=figures_text(report),
    )
    if judgement.failures:
        failure_sheet(judgement.failures).save(folder / "failures.jpg", quality=88)
    else:
        text = text[: text.index("## Failures")].rstrip() + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def failure_sheet(failures: Sequence[Failure]) -> Pillow.Image:
    """One cell a failure, four a row: the better crop in green, the one that scored more in red."""
    sheet = Pillow.new("RGB", (4 * CELL, -(-len(failures) // 4) * CELL), (32, 32, 32))
    for number, failure in enumerate(failures):
        height, width = failure.picture.shape[:2]
        scale = (CELL - 16) / max(height, width)
        cell = Pillow.fromarray(failure.picture).resize((round(width * scale), round(height * scale)))
        draw = ImageDraw.Draw(cell)
        for box, colour in ((failure.worse, (255, 60, 60)), (failure.better, (60, 255, 60))):
            draw.rectangle([tuple(box[:2] * scale), tuple(box[2:] * scale - 1)], outline=colour, width=2)
        at = (number % 4 * CELL + 4, number // 4 * CELL + 14)
        sheet.paste(cell, at)
        label = f"{failure.kind}: {failure.scores[0]:.1f} < {failure.scores[1]:.1f}"
        ImageDraw.Draw(sheet).text((at[0], at[1] - 13), label, fill=(255, 255, 255))
    return sheet
