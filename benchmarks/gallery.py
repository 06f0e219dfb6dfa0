"""Crops to look at: own and centre crops of photographs in several aspects, as pages or as a blind comparison.

    python -m benchmarks.gallery --photos assets/photos --out gallery
    python -m benchmarks.gallery --photos DIR --out blind --blind 7 --count 60

The blind pages show two crops of each photograph, own and centre, with the sides shuffled by the seed; ``key.csv`` says which is
which. Crops of an overlap of at least ``SAME`` are left out there: nothing distinguishes them.
"""

import argparse
import csv
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.core.geometry import iou
from procrop_model.cropper import Cropper, Limits, open_upright, parse_aspect
from procrop_model.inference.limit_scoring import largest_window
from stages.backends.vision.u2net import U2NetSegmenter

ASPECTS = ("free", "1:1", "4:5", "16:9")
SAME = 0.9
TILE, GAP, ROWS = 300, 8, 6
SMALL_TILE, SMALL_ROWS = 150, 11  # of the gallery's pages
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
Box = tuple[int, int, int, int]


def centre_box(size: tuple[int, int], aspect: str) -> Box:
    """The largest centred box of an aspect in an image of ``size`` (width, height); nine tenths of each side for ``free``."""
    width, height = size
    wide, high = (0.9, 0.9) if aspect == "free" else largest_window(parse_aspect(aspect) or 1.0, size)
    left, top = (1 - wide) / 2 * width, (1 - high) / 2 * height
    return round(left), round(top), round(width - left), round(height - top)


def own_boxes(cropper: Cropper, image: Image.Image, subject: Limits) -> dict[str, Box]:
    """The best crop of each aspect, as ``procrop-data crop`` gives it: ``subject`` are the limits of fixed aspects."""
    limits = {aspect: Limits() if aspect == "free" else subject for aspect in ASPECTS}
    return {aspect: cropper(image, aspect=aspect, top=1, limits=own)[0].box_px for aspect, own in limits.items()}


def row_of(image: Image.Image, boxes: Sequence[Box], labels: Sequence[str], tile_side: int = TILE) -> Image.Image:
    """The image, then its crops, side by side with labels."""
    row = Image.new("RGB", ((tile_side + GAP) * (1 + len(boxes)), tile_side + 20), "white")
    draw = ImageDraw.Draw(row)
    for column, (box, label) in enumerate(zip([None, *boxes], ["", *labels], strict=True)):
        tile = image.crop(box) if box else image.copy()
        tile.thumbnail((tile_side, tile_side), Image.Resampling.LANCZOS)
        row.paste(tile, (column * (tile_side + GAP), 18))
        draw.text((column * (tile_side + GAP) + 2, 3), label, fill="black")
    return row


def gallery_row(name: str, image: Image.Image, own: dict[str, Box]) -> Image.Image:
    """The image, its free crop, and own and centre crop of each fixed aspect."""
    boxes, labels = [own["free"]], [f"{name}: free"]
    for aspect in ASPECTS[1:]:
        boxes += [own[aspect], centre_box(image.size, aspect)]
        labels += [f"{aspect} own", f"{aspect} centre"]
    return row_of(image, boxes, labels, SMALL_TILE)


def save_pages(rows: Sequence[Image.Image], out: Path, name: str, count: int) -> list[Path]:
    """JPEG pages of ``count`` rows each."""
    pages = []
    for start in range(0, len(rows), count):
        part = rows[start : start + count]
        page = Image.new("RGB", (part[0].width, sum(row.height for row in part)), "white")
        top = 0
        for row in part:
            page.paste(row, (0, top))
            top += row.height
        pages.append(out / f"{name}-{start // count + 1}.jpg")
        page.save(pages[-1], quality=82)
    return pages


def photographs(folder: Path, count: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """``count`` photographs of a folder, chosen by the seed; 0 for all, in the order of their names."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    chosen = sorted(random.Random(seed).sample(paths, min(count, len(paths)))) if count else paths
    for path in chosen:
        image = open_upright(path).convert("RGB")
        image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
        yield path.stem, image


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("--photos", default="assets/photos")
    parser.add_argument("--out", default="gallery")
    parser.add_argument("--model", default="assets/models/cropper")
    parser.add_argument("--count", type=int, default=0, help="photographs, 0 for all")
    parser.add_argument("--blind", type=int, default=-1, help="seed of a blind comparison with the centre crop")
    options = parser.parse_args(list(arguments))
    out, cropper, draw = Path(options.out), Cropper.load(options.model), random.Random(options.blind)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Image.Image] = []
    key: list[tuple[int, str, str, str]] = []
    same = 0
    segmenter = U2NetSegmenter()
    subject = Limits(subject=lambda pixels: segmenter.segment([pixels])[0])
    for name, image in photographs(Path(options.photos), options.count, max(options.blind, 0)):
        own = own_boxes(cropper, image, subject)
        if options.blind < 0:
            rows.append(gallery_row(name, image, own))
            continue
        aspect = draw.choice(ASPECTS)
        pair = [("own", own[aspect]), ("centre", centre_box(image.size, aspect))]
        if iou(pair[0][1], pair[1][1]) >= SAME:
            same += 1
            continue
        draw.shuffle(pair)
        number = len(rows) + 1
        rows.append(row_of(image, [box for _, box in pair], [f"{number} left, {aspect}", f"{number} right"]))
        key.append((number, name, aspect, pair[0][0]))
    pages = save_pages(rows, out, *(("blind", ROWS) if options.blind >= 0 else ("gallery", SMALL_ROWS)))
    if key:
        with (out / "key.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("number", "photo", "aspect", "left"), *key])
    print(f"{len(rows)} photographs on {len(pages)} pages, {same} alike: {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
