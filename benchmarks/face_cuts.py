"""Faces that the cropper's first crop cuts, on the photographs with faces of a folder, with the face limit and without.

    python -m benchmarks.face_cuts FOLDER [--model DIR] [--most N] [--drawn OUT]

One thread. At fixed aspects the subject limit is on, as in ``crop``. ``where possible`` leaves out photographs whose prominent
heads no window of the aspect can hold together.
"""

import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from pipeline.core.resources import bundled
from procrop_model.cropper import Cropper, Limits
from procrop_model.evaluation.face_cuts import FaceCuts, can_hold, faces_cut
from procrop_model.faces.detector import FaceDetector
from procrop_model.inference.crop_options import parse_aspect
from stages.backends.vision.u2net import U2NetSegmenter

ASPECTS = (None, "1:1", "4:5", "16:9")
SUFFIXES = (".jpg", ".jpeg", ".png")


def main() -> None:
    """Print one row for each aspect and limit."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=bundled("assets") / "models" / "cropper")
    parser.add_argument("--most", type=int, default=1000, help="photographs with faces, at most")
    parser.add_argument(
        "--drawn", type=Path, help="folder for sheets: the crops without the limit (red) and with it (green)"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    cropper, photos = Cropper.load(given.model, precision="fp32"), with_faces(given.folder, given.most)
    segmenter = U2NetSegmenter()
    masks = [segmenter.segment([np.asarray(photo)])[0] for photo, _ in photos]
    print(f"{len(photos)} photographs with {sum(len(faces) for _, faces in photos)} faces")
    for aspect in ASPECTS:
        boxes = {word: crops_of(cropper, photos, masks, aspect, word) for word in ("off", "keep")}
        for word, crops in boxes.items():
            print(f"{aspect or 'free'}, faces {word}: {figures(photos, crops, aspect)}")
        if given.drawn is not None:
            given.drawn.mkdir(parents=True, exist_ok=True)
            sheet(photos, boxes, given.drawn / f"{(aspect or 'free').replace(':', 'x')}.jpg")


def with_faces(folder: Path, most: int) -> list[tuple[Image.Image, np.ndarray]]:
    """Photographs of a folder in which faces are found, and the faces [N, 5]."""
    detector, found = FaceDetector(), []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES):
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        faces = detector.detect([np.asarray(photo)])[0]
        if len(faces) and len(found) < most:
            found.append((photo, faces))
    return found


def crops_of(cropper: Cropper, photos, masks, aspect: str | None, word: str) -> list[tuple[np.ndarray, float]]:
    """The first crop of each photograph, in 0..1, and the seconds that it took."""
    crops = []
    for (photo, _), mask in zip(photos, masks, strict=True):
        subject = None if aspect is None else lambda image, mask=mask: mask
        start = time.process_time()
        (crop, *_) = cropper(photo, aspect=aspect, limits=Limits(subject=subject, faces=word))
        seconds = time.process_time() - start
        crops.append((np.array(crop.box_px) / np.array([photo.width, photo.height] * 2), seconds))
    return crops


def figures(photos, crops, aspect: str | None) -> str:
    """One line: shares of faces and heads that are cut, prominent heads lost, and the time."""
    each = [faces_cut(box.tolist(), faces) for (box, _), (_, faces) in zip(crops, photos, strict=True)]
    possible = [can_hold(faces, parse_aspect(aspect), photo.size) for photo, faces in photos]
    held = sum((cuts for cuts, can in zip(each, possible, strict=True) if can), FaceCuts())
    every, area = sum(each, FaceCuts()), np.mean([np.prod(box[2:] - box[:2]) for box, _ in crops])
    pictures = np.mean([cuts.lost > 0 for cuts, can in zip(each, possible, strict=True) if can])
    return (
        f"faces cut {every.share_cut:.3f} (where possible, {sum(possible)} photographs: {held.share_cut:.3f}), heads cut "
        f"{every.share_of_heads_cut:.3f} ({held.share_of_heads_cut:.3f}), prominent heads not whole "
        f"{every.lost / max(every.prominent, 1):.3f} ({held.lost / max(held.prominent, 1):.3f}; in {pictures:.3f} of the "
        f"photographs), area {area:.3f}, CPU {1e3 * float(np.median([seconds for _, seconds in crops])):.0f} ms"
    )


def sheet(photos, boxes, path: Path) -> None:
    """A contact sheet of the photographs whose crop the limit changed."""
    pairs = list(zip(photos, boxes["off"], boxes["keep"], strict=True))
    changed = [(photo, off, keep) for (photo, _), (off, _), (keep, _) in pairs if np.abs(off - keep).max() > 0.01][:35]
    columns, side = 7, 220
    whole = Image.new("RGB", (columns * side, max(1, -(-len(changed) // columns)) * side), "white")
    for number, (photo, off, keep) in enumerate(changed):
        small = photo.copy()
        small.thumbnail((side - 6, side - 6))
        brush, size = ImageDraw.Draw(small), np.array([small.width, small.height] * 2)
        brush.rectangle((off * size).tolist(), outline="red", width=2)
        brush.rectangle((keep * size - 1).tolist(), outline="lime", width=2)
        whole.paste(small, (number % columns * side, number // columns * side))
    whole.save(path)


if __name__ == "__main__":
    main()
