"""The card of a trained small out-painter: data, licence, command, figures, and everything that it painted of held-out photos."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow

from stages.backends.base.protocols import Image, PaintRequest

if TYPE_CHECKING:
    from stages.training.outpainter.train import OutpainterReport

CELL, GAP = 192, 6  # pixels of the sheet's cells and between them

_CARD = """# A small out-painter

Paints what lies beyond a photograph's frame: diffusion in pixel space at about {size} x {size} pixels, enlarged to its canvas.

- **Architecture.** diffusers' `UNet2DModel`, 7 channels in (noisy RGB, the photograph with its edge pixels drawn outward, a
  mask), {parameters} million parameters ({megabytes} MB); `DDIMScheduler`, cosine schedule, velocity predicted. Layout: diffusers'.
- **Data.** {train} photographs to learn from, {held_out} held out, split by photograph; random windows (0.6 to 1 of the largest)
  and mirror images of them, the visible rectangle drawn as the outpaint stage draws it. Authors and licences: the
  `credits.csv` beside the photographs ({licences}).
  Train: {train_names}.
  Held out: {held_out_names}.
- **Licence.** The weights hold no photograph, but a model of few photographs can repeat parts of them: pass it on under
  terms that theirs allow.
- **Command.** `procrop-data train-outpainter {options}`: {seconds} s on {device} ({threads} threads), digest `{digest}`.

Use: `models.outpainter.kind=small-diffusion models.outpainter.model=FOLDER`.

## Figures

Mean squared error of the predicted velocity over hidden pixels, averaged weights, the same held-out canvases and noise each
time.

| step | train, since the row before | held out |
|---|---|---|
{rows}

How its canvases compare with other out-painters': `procrop-data bench outpaint --learned FOLDER`.

## Failures

The paint is made at {size} pixels and enlarged, so it is softer than any photograph and a seam audit finds it easily. Nothing
below is picked: each held-out photograph with what is seen of it in colour, then two seeds.

![held-out photographs, what is seen of each, and two canvases painted from that](samples.jpg)
"""


def write_outpainter_card(
    folder: Path, report: "OutpainterReport", rows: Sequence[tuple[Image, PaintRequest, Sequence[Image]]]
) -> None:
    """Write ``README.md`` and ``samples.jpg``.

    Args:
        folder: of the model.
        report: of its training.
        rows: (whole photograph, request made of a part of it, canvases painted of that) for each sample.
    """
    photos = report["photos"]
    licences = Counter(report["licences"].get(name) or "not stated" for name in photos["train"])
    text = _CARD.format(
        size=report["settings"]["size"],
        parameters=round(report["parameters"] / 1e6, 2),
        megabytes=round(report["bytes"] / 1e6, 1),
        train=len(photos["train"]),
        held_out=len(photos["held_out"]),
        train_names=", ".join(photos["train"]),
        held_out_names=", ".join(photos["held_out"]),
        licences=", ".join(f"{name} {count}" for name, count in sorted(licences.items())),
        options=" ".join(f"--{name.replace('_', '-')} {report['settings'][name]}" for name in report["options"]),
        seconds=round(report["seconds"]),
        device=report["device"],
        threads=report["threads"],
        digest=report["digest"],
        rows="\n".join(f"| {step} | {train:.4f} | {held_out:.4f} |" for step, train, held_out in report["history"]),
    )
    sheet(rows).save(folder / "samples.jpg", quality=88)
    (folder / "README.md").write_text(text, encoding="utf-8")


def sheet(rows: Sequence[tuple[Image, PaintRequest, Sequence[Image]]]) -> Pillow.Image:
    """One row a photograph: the whole with its hidden part greyed, then the canvases."""
    columns = 1 + max(len(canvases) for _, _, canvases in rows)
    out = Pillow.new("RGB", (columns * (CELL + GAP), len(rows) * (CELL + GAP)), (32, 32, 32))
    for number, (truth, request, canvases) in enumerate(rows):
        x1, y1, x2, y2 = request.box_px
        dimmed = np.repeat((truth.mean(2, keepdims=True) * 0.6).astype(np.uint8), 3, axis=2)
        dimmed[y1:y2, x1:x2] = request.photo
        for place, picture in enumerate([dimmed, *canvases]):
            cell = Pillow.fromarray(picture)
            cell.thumbnail((CELL, CELL), Pillow.Resampling.LANCZOS)
            out.paste(cell, (place * (CELL + GAP), number * (CELL + GAP)))
    return out
