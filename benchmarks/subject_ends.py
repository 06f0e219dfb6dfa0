"""Ends of the subject (ears, muzzles, tails) that the first crop of a fixed aspect cuts, with their weight at 0 and as it is.

    python -m benchmarks.subject_ends FOLDER [--names FILE]

One thread. ``cut``: more than 3 % of the subject's width or height, of the photographs whose subject a window of the aspect holds.
"""

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.core.resources import bundled
from procrop_model.cropper import Cropper, Limits
from procrop_model.inference import limit_scoring
from procrop_model.inference.crop_options import parse_aspect
from procrop_model.inference.limit_scoring import largest_window
from procrop_model.inference.subject_outline import SubjectOutline
from stages.backends.vision.u2net import U2NetSegmenter

ASPECTS, CUT = ("1:1", "4:5", "16:9"), 0.03


def main() -> None:
    """Print one row for each aspect and weight."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", type=Path, help="file with one photograph's name a line; default: all of the folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = given.names.read_text(encoding="utf-8").split() if given.names else []
    paths = [given.folder / name for name in names] or sorted(given.folder.glob("*.jpg"))
    photos = [Image.open(path).convert("RGB") for path in paths]
    masks = U2NetSegmenter().segment([np.asarray(photo) for photo in photos])
    cropper = Cropper.load(bundled("assets") / "models" / "cropper", precision="fp32")
    weights = (0.0, limit_scoring.SUBJECT_END)
    for aspect in ASPECTS:
        for weight in weights:
            limit_scoring.SUBJECT_END = weight
            print(f"{aspect}, weight {weight:g}: {figures(cropper, photos, masks, aspect)}")


def figures(cropper: Cropper, photos, masks, aspect: str) -> str:
    """One line of figures."""
    cut, held, score = [], [], []
    for photo, mask in zip(photos, masks, strict=True):
        (crop, *_) = cropper(photo, aspect=aspect, limits=Limits(subject=lambda image, mask=mask: mask))
        outline = SubjectOutline(mask)
        box = np.array([crop.box_px], np.float32) / np.array([photo.width, photo.height] * 2, np.float32)
        cut.append(float(outline.cut(box)[0]))
        score.append(crop.score)
        room = np.array(largest_window(parse_aspect(aspect) or 1, photo.size)) + 1e-3
        held.append(outline.box is not None and bool((outline.box[2:] - outline.box[:2] <= room).all()))
    ends = np.array(cut)
    return (
        f"cut {np.mean(ends[held] > CUT):.3f} of the {sum(held)} photographs whose subject fits; mean share of ends cut "
        f"{ends.mean():.3f} of all {len(photos)}; mean score {np.mean(score):.3f}"
    )


if __name__ == "__main__":
    main()
