"""The model card of a trained scorer, with its figures and pictures of where it fails."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw

from stages.training.scorer.pair_accuracy import Failure, ScorerEvaluation
from stages.training.scorer.report_text import ScorerReport, figures_text

CELL = 200  # pixels of the sheet's cells

_CARD = """# Composition scorer

Scores the composition of a crop from 0 to 10: five times the probability that it is better than a typical bad crop of its area,
plus five times the probability that it is better than a typical professional frame of its area. A random crop has about 2.5, a
professional's own frame about 7.5.

- **Architecture.** One EfficientNet-Lite0 pass and one U2-NetP mask for each image, then any number of crops. The
  features are RoIAlign of the maps of strides 8 and 16 in strips inside and outside each side (to detect whether the
  content continues, ends or is cut), maps of strides 16 and 32 pooled over the crop, its centre, its edge and its
  surroundings, and the position of the subject, the share of it that is kept or cut, and its margins. The head is a small
  ranking head, averaged over five members. The features are symmetric in left and right. The aspect ratio is a feature
  only beyond 16:9 in both directions.
- **Licence.** Apache-2.0. The weights ({size} KB) contain no photograph.
- **Data.** {train} photographs to train on, {val} to validate, {test} held out; authors and licences in the
  `credits.csv` beside them. Of each, {variants} out-painted canvases with the rectangle of the photo as the good crop,
  and {insides} sets of crops inside the photo, or inside a part of it, ranked by the subject that they keep. The crops
  of a pair have equal area. Every image was resized, blurred, given noise and re-encoded as a whole, and every second
  one mirrored, to weaken the seam and the side as cues.
  Train: {train_names}.
  Validation: {val_names}.
  Held out: {test_names}.
- **Command.** `procrop-data train-scorer`: {seconds}; out-painter {outpainter}; digest `{digest}`.

## Held-out figures

{figures}

*shifted*: the window of the photo at another position on its canvas, moved by at least a fifth of a side. *tilted*: the same centre
within about 5 % of a side (moved only to stay on the canvas), the same area, an aspect ratio 1.4 to 2.4 times wider or narrower.
*subject-cut*: a window of that area that keeps at most three quarters of the subject. *inside*: crops within the photo,
without paint; the label is our own rule, so this row measures agreement with that rule on unseen photos.

## Limits

On canvases the scorer can still use the fact that paint has less content than a photo, independent of the seam; the
*inside* row is free of this effect. A tilted window counts as worse because the photographer did not choose it, so this
label is a convention. Scores are most comparable for crops of similar size. An image without one clear subject is scored by the
encoder features alone. There are almost no people among the bundled photographs.

## Failures

![pairs that it ranks wrongly: green the better crop, red the crop with the higher score](failures.jpg)
"""


def write_scorer_card(folder: Path, report: ScorerReport, evaluation: ScorerEvaluation) -> None:
    """Write ``README.md`` and, where the scorer fails, ``failures.jpg``."""
    photos = report["photos"]
    text = _CARD.format(
        size=round((folder / "model.safetensors").stat().st_size / 1024),
        **{split: len(names) for split, names in photos.items()},
        **{f"{split}_names": ", ".join(names) or "none" for split, names in photos.items()},
        variants=report["settings"]["variants"],
        insides=report["settings"]["insides"],
        seconds=", ".join(f"{name} {took} s" for name, took in report["seconds"].items()),
        outpainter=report["outpainter"],
        digest=report["digest"],
        figures=figures_text(report),
    )
    if evaluation.failures:
        failure_sheet(evaluation.failures).save(folder / "failures.jpg", quality=88)
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
