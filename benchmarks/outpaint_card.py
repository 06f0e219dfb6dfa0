"""The sample sheet of the embedded out-painter's card, and how long a canvas takes on one thread.

    python benchmarks/outpaint_card.py [--sheet FILE.jpg] [--side 192] [--repeats 3]

The sheet shows every held-out (``test``) photograph three times: whole, its middle outlined; that middle out-painted to
the whole frame; and the whole, out-painted as the pipeline does. Nothing is picked: one seed each.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from pipeline.core.resources import bundled
from pipeline.core.seeds import fraction_of, seed_for
from stages.backends.base.protocols import Image as Pixels
from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.patch_diffusion.backend import PatchOutpainter
from stages.backends.vision.u2net import U2NetSegmenter

GAP, COLUMNS, OUTLINE = 6, 2, (255, 220, 60)


def photographs(split: str) -> list[Path]:
    """The bundled photographs of a split, by name."""
    folder = bundled("assets") / "photos"
    with (folder / "credits.csv").open(newline="") as file:
        return sorted(folder / row["file"] for row in csv.DictReader(file) if row["split"] == split)


def shrunk(path: Path, side: int) -> Pixels:
    """The photograph with a long side of ``side`` pixels: uint8 [H, W, 3]."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def resized(photo: Pixels, width: int, height: int) -> Pixels:
    """uint8 [h, w, 3] -> [height, width, 3]."""
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))


def hidden(photo: Pixels, name: str, segmenter: U2NetSegmenter) -> PaintRequest:
    """The middle of a photo, to be out-painted to its own frame."""
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = (int(n) for n in (0.2 * width, 0.2 * height, 0.82 * width, 0.8 * height))
    middle = photo[y1:y2, x1:x2]
    subject = segmenter.segment([middle])[0]
    return PaintRequest(middle, subject, (x1, y1, x2, y2), (width, height), seed_for(0, "card", name))


def placed(photo: Pixels, name: str, segmenter: U2NetSegmenter) -> PaintRequest:
    """A whole photo somewhere on a canvas of its own shape, at 0.5 to 0.75 of its size."""
    height, width = photo.shape[:2]
    share = 0.5 + 0.25 * fraction_of(0, "card share", name)
    inner = resized(photo, round(share * width), round(share * height))
    x = round(fraction_of(0, "card x", name) * (width - inner.shape[1]))
    y = round(fraction_of(0, "card y", name) * (height - inner.shape[0]))
    box = (x, y, x + inner.shape[1], y + inner.shape[0])
    return PaintRequest(inner, segmenter.segment([inner])[0], box, (width, height), seed_for(0, "card", name))


def outlined(photo: Pixels, box: tuple[int, int, int, int]) -> Image.Image:
    """The photo with a rectangle on it."""
    image = Image.fromarray(photo)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=OUTLINE)
    return image


def sheet(rows: list[list[Image.Image]], side: int) -> Image.Image:
    """Rows of three pictures, ``COLUMNS`` of them abreast; wide photographs first, so that little room is lost."""
    rows = sorted(rows, key=lambda row: row[0].height)
    lines = [rows[start : start + COLUMNS] for start in range(0, len(rows), COLUMNS)]
    heights = [max(row[0].height for row in line) + GAP for line in lines]
    width = 3 * (side + GAP) + 2 * GAP
    out = Image.new("RGB", (COLUMNS * width, sum(heights)), (40, 40, 40))
    for number, line in enumerate(lines):
        for column, row in enumerate(line):
            for place, image in enumerate(row):
                out.paste(image, (column * width + place * (side + GAP), sum(heights[:number])))
    return out


def seconds(painter: PatchOutpainter, requests: list[PaintRequest], repeats: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of every canvas, each painted ``repeats`` times, in turn, after one to warm up."""
    painter.paint(requests[:1])
    wall, cpu = [], []
    for request in requests * repeats:
        start, start_cpu = time.perf_counter(), time.process_time()
        painter.paint([request])
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return wall, cpu


def main() -> None:
    """Write the sheet if a file is named, then print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    painter, segmenter = PatchOutpainter(), U2NetSegmenter()
    rows, requests = [], []
    for path in photographs("test"):
        photo = shrunk(path, options.side)
        pair = [hidden(photo, path.stem, segmenter), placed(photo, path.stem, segmenter)]
        requests += pair
        if options.sheet:
            painted = [Image.fromarray(canvas) for canvas in painter.paint(pair)]
            rows.append([outlined(photo, pair[0].box_px), *painted])
    if options.sheet:
        sheet(rows, options.side).save(options.sheet, quality=90)
    if options.repeats:
        wall, cpu = seconds(painter, requests, options.repeats)
        for name, values in (("wall", wall), ("cpu", cpu)):
            middle, most = statistics.median(values), max(values)
            what = f"{name} seconds a canvas of {options.side} px, 1 thread"
            print(f"{what}: median {middle:.2f}, most {most:.2f}, n {len(values)}")


if __name__ == "__main__":
    main()
