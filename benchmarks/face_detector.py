"""The face detector on a folder of photographs that were judged by eye: pictures found and wrongly found, and time on one thread.

    python -m benchmarks.face_detector FOLDER [--drawn OUT]

``assets/models/faces/judged.csv`` names the photographs: ``yes``, a human face is plainly visible; ``no``; ``unclear``: statues,
silhouettes, people from behind, and faces of a few pixels, which count for nothing.
"""

import csv
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.core.resources import bundled
from procrop_model.faces.detector import SIDES, FaceDetector
from procrop_model.faces.heads import head_boxes

TRIED = (SIDES, (256, 512), (320,))  # sides of the finder


def main() -> None:
    """Print one row for each choice of sides."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--drawn", type=Path, help="folder for copies with faces (red) and heads (green), at the default sides"
    )
    given = parser.parse_args()
    with (bundled("assets") / "models" / "faces" / "judged.csv").open(encoding="utf-8") as file:
        judged = {row["file"]: row["face"] for row in csv.DictReader(file) if (given.folder / row["file"]).is_file()}
    for sides in TRIED:
        print(measured(FaceDetector(sides=sides), given.folder, judged))
    if given.drawn is not None:
        given.drawn.mkdir(parents=True, exist_ok=True)
        detector = FaceDetector()
        for name in judged:
            draw(detector, given.folder / name).save(given.drawn / f"{Path(name).stem}.jpg")


def measured(detector: FaceDetector, folder: Path, judged: dict[str, str]) -> str:
    """One line of figures."""
    seconds, found = [], {}
    for name in judged:
        with Image.open(folder / name) as photo:
            pixels = np.asarray(photo.convert("RGB"))
        start = time.process_time()
        found[name] = len(detector.detect([pixels])[0])
        seconds.append(time.process_time() - start)
    hits = {face: [bool(found[name]) for name in judged if judged[name] == face] for face in ("yes", "no", "unclear")}
    shares = ", ".join(f"{face} {sum(hit)} of {len(hit)}" for face, hit in hits.items())
    median, longest = 1e3 * float(np.median(seconds)), 1e3 * max(seconds)
    return (
        f"sides {detector.sides}: {sum(found.values())} faces in {sum(map(bool, found.values()))} pictures; "
        f"of those judged {shares}; "
        f"CPU time a picture {median:.0f} ms (median), {longest:.0f} ms (most)"
    )


def draw(detector: FaceDetector, path: Path) -> Image.Image:
    """The photograph with its faces and heads."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    (faces,) = detector.detect([np.asarray(photo)])
    size, brush = np.array([photo.width, photo.height] * 2), ImageDraw.Draw(photo)
    for face, head in zip(faces, head_boxes(faces), strict=True):
        brush.rectangle((face[:4] * size).tolist(), outline="red", width=2)
        brush.rectangle((head * size).tolist(), outline="lime", width=2)
        brush.text(tuple((face[:2] * size[:2]).tolist()), f"{face[4]:.2f}", fill="white")
    return photo


if __name__ == "__main__":
    main()
