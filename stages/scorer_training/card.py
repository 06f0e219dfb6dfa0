"""The model card of a trained scorer, with its figures and pictures of where it fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw

from stages.scorer_training.judging import Failure, Judgement

CELL = 200

_CARD = """# Composition scorer

Judges how well a crop is composed: 0 to 10, where 5 means even odds against a typical bad crop of the same area.

- **Architecture.** EfficientNet-Lite0 maps (strides 16 and 32, one pass a picture) projected to 16 whitened channels
  each; RoIAlign over a 4 x 4 grid of the crop and a ring around it; where the subject lies (U2-NetP mask); a small
  ranking head, five members averaged. Left and right are never told apart, and the aspect is not an input.
- **Licence.** Apache-2.0. The weights ({size} KB) hold no photograph.
- **Data.** {train} photographs to train on, {test} held out; authors and licences in the `credits.csv` beside them.
  Of each, {variants} out-painted canvases with the photo's own rectangle as the good crop, and {insides} sets of crops
  inside the photo ranked by the subject that they keep. The crops of a pair have equal area. Every picture was
  resized, blurred, given noise and re-encoded as a whole, to weaken the seam as a cue.
  Train: {train_names}.
  Held out: {test_names}.
- **Command.** `procrop-data train-scorer`: {seconds}; out-painter {outpainter}; digest `{digest}`.

## Held-out figures

Size-matched pairs of held-out photos, mean over photos, 95 % bootstrap interval over photos. *Degraded*: the whole
picture blurred, given noise and re-encoded twice as strongly as in training.

| kind | accuracy | interval | degraded | pairs |
|---|---|---|---|---|
{rows}

- Subject kept by the best of 60 equal-area crops inside a photo: {kept}.
- Mirrored pictures: mean difference of a score {mirror}, same order in {same} of the pairs.

*shifted*: the photo's window elsewhere on its canvas. *tilted*: about the same centre, the same area, another aspect.
*subject-cut*: a window of that area that keeps at most three quarters of the subject. *inside*: crops within the photo,
nothing painted; the label is our own rule, so this row measures agreement with that rule on photos not seen.

## Limits

On canvases the scorer can still use that painted surroundings look emptier than a photo, whatever the seam; the
*inside* row is free of that. Scores compare crops of like size best. A picture without one clear subject is judged by
the encoder alone. There are almost no people among the photographs.

## Failures

![pairs that it ranks wrongly: green the better crop, red the one it preferred](failures.jpg)
"""


def write_card(folder: Path, report: dict[str, Any], judgement: Judgement) -> None:
    """Write ``README.md`` and, where the scorer fails, ``failures.jpg``."""
    kept, photos = report["subject_kept"], report["photos"]
    text = _CARD.format(
        size=round((folder / "model.safetensors").stat().st_size / 1024),
        train=len(photos["train"]),
        test=len(photos["test"]),
        train_names=", ".join(photos["train"]),
        test_names=", ".join(photos["test"]),
        variants=report["settings"]["variants"],
        insides=report["settings"]["insides"],
        seconds=", ".join(f"{name} {took} s" for name, took in report["seconds"].items()),
        outpainter=report["outpainter"],
        digest=report["digest"],
        rows="\n".join(_rows(report)),
        kept=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in kept.items()),
        mirror=report["mirror_mean_difference"],
        same=report["mirror_same_order"],
    )
    if judgement.failures:
        failure_sheet(judgement.failures).save(folder / "failures.jpg", quality=88)
    else:
        text = text[: text.index("## Failures")].rstrip() + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _rows(report: dict[str, Any]) -> list[str]:
    return [
        f"| {kind} | {row['accuracy']} | {row['low']} to {row['high']} "
        f"| {report['accuracy_degraded'][kind]['accuracy']} | {row['pairs']} |"
        for kind, row in report["accuracy"].items()
    ]


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
