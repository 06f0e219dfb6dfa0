"""What the guard of ``build`` finds and what it mistakes: edits of the bundled photographs, strangers, and its time.

Found: the share of edited copies that count as the photograph that they were made of. Mistaken: pairs of different
photographs that count as one. Then the seconds for many made-up pictures, whose vectors are as spread as the photographs'.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.harness import OURS, environment, finish, result
from pipeline.core.records import Signature
from pipeline.core.resources import bundled
from stages.backends.encoders.lite0 import Lite0Backend
from stages.near_duplicates.signatures import Signatures
from stages.near_duplicates.similarity import find_similar, signature_of

Edit = Callable[[Image.Image], Image.Image]
SIDE = 1024


def crop(share: float, x: float = 0.5, y: float = 0.5) -> Edit:
    """Cut out a part with sides of this share, at a place in 0..1."""

    def edit(image: Image.Image) -> Image.Image:
        width, height = int(image.width * share), int(image.height * share)
        left, top = int((image.width - width) * x), int((image.height - height) * y)
        return image.crop((left, top, left + width, top + height))

    return edit


def rotate(degrees: float) -> Edit:
    """Turn, and cut the empty corners away."""

    def edit(image: Image.Image) -> Image.Image:
        slope = abs(np.sin(np.radians(degrees)))
        x, y = int(image.height * slope / 2) + 2, int(image.width * slope / 2) + 2
        turned = image.rotate(degrees, resample=Image.Resampling.BICUBIC)
        return turned.crop((x, y, image.width - x, image.height - y))

    return edit


def recode(quality: int) -> Edit:
    """Through JPEG and back."""

    def edit(image: Image.Image) -> Image.Image:
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=quality)
        return Image.open(sink).convert("RGB")

    return edit


def warm(image: Image.Image) -> Image.Image:
    """More red, less blue."""
    values = np.asarray(image).astype(float) * [1.12, 1.0, 0.86]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


EDITS: dict[str, Edit] = {
    "JPEG quality 60": recode(60),
    "JPEG quality 20": recode(20),
    "half size": lambda i: i.resize((i.width // 2, i.height // 2)),
    "quarter size": lambda i: i.resize((i.width // 4, i.height // 4)),
    "squeezed 1.2": lambda i: i.resize((int(i.width * 1.2), i.height)),
    "brighter 1.3": lambda i: ImageEnhance.Brightness(i).enhance(1.3),
    "contrast 1.4": lambda i: ImageEnhance.Contrast(i).enhance(1.4),
    "saturation 1.6": lambda i: ImageEnhance.Color(i).enhance(1.6),
    "warmer": warm,
    "gray": lambda i: ImageOps.grayscale(i).convert("RGB"),
    "white border 4 %": lambda i: ImageOps.expand(i, int(min(i.size) * 0.04), (255, 255, 255)),
    "mirrored": ImageOps.mirror,
    "mirrored, crop 0.9": lambda i: crop(0.9)(ImageOps.mirror(i)),
    "rotated 1 degree": rotate(1),
    "rotated 3 degrees": rotate(3),
    "rotated 5 degrees": rotate(5),
    "crop 0.95": crop(0.95),
    "crop 0.9": crop(0.9),
    "crop 0.85, off centre": crop(0.85, 0.3, 0.7),
    "crop 0.8": crop(0.8),
    "crop 0.8, corner": crop(0.8, 0, 0),
    "crop 0.7": crop(0.7),
    "crop 0.6": crop(0.6),
    "crop 0.5": crop(0.5),
}


def main(arguments: Sequence[str] = ()) -> None:
    """Print a line an edit, then the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench near-duplicates", description=__doc__)
    parser.add_argument("--many", type=int, default=60_000, help="made-up pictures whose search is timed")
    options = parser.parse_args(arguments)
    encoder = Lite0Backend()

    def sign(key: str, image: Image.Image) -> Signature:
        pixels = np.asarray(image)
        return signature_of(key, key, "train", pixels, encoder.encode([pixels])[0].vector)

    photos = {path.stem: _read(path) for path in sorted((bundled("assets") / "photos").glob("*.jpg"))}
    own = [sign(name, image) for name, image in photos.items()]
    mistaken = [(own[i].key, own[j].key) for i, j in find_similar(Signatures.of(own)).pairs]
    found = {}
    for name, edit in EDITS.items():
        hits = [bool(find_similar(Signatures.of([s, sign("copy", edit(photos[s.key]))])).pairs) for s in own]
        found[name] = round(sum(hits) / len(hits), 3)
        print(f"{name:24} found {sum(hits)} of {len(hits)}")
    quarters = [(crop(0.5, 0, 0), crop(0.5, 1, 1)), (crop(0.5, 1, 0), crop(0.5, 0, 1))]
    apart = [
        find_similar(Signatures.of([sign("a", a(i)), sign("b", b(i))])).pairs
        for i in photos.values()
        for a, b in quarters
    ]
    print(f"opposite quarters of one photograph: {sum(map(bool, apart))} of {len(apart)} pairs count as one")
    print(f"different photographs: {len(mistaken)} of {len(own) * (len(own) - 1) // 2} pairs count as one {mistaken}")
    many = _made_up(own, options.many)
    started = time.perf_counter()
    similar = find_similar(Signatures.of(many))
    seconds = time.perf_counter() - started
    print(f"{len(many)} made-up pictures: {seconds:.1f} s, {len(similar.pairs)} pairs, {similar.unchecked} unchecked")
    finish(
        result(
            "near-duplicates", "s", {OURS: [seconds]}, higher_is_better=False, env=environment("faiss-cpu", "numpy"),
            pictures=len(many), photographs=len(own), found=found, mistaken=len(mistaken),
            quarters=[sum(map(bool, apart)), len(apart)],
        )
    )  # fmt: skip


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.thumbnail((SIDE, SIDE))
        return image.convert("RGB")


def _made_up(own: Sequence[Signature], count: int) -> list[Signature]:
    """Pictures whose vectors have the photographs' mean and covariance, with hashes and thumbnails by chance."""
    rng = np.random.default_rng(0)
    known = np.stack([np.frombuffer(s.vector, np.float16).astype(np.float32) for s in own])
    weights = rng.standard_normal((count, len(own))).astype(np.float32) / np.sqrt(len(own) - 1)
    vectors = (known.mean(0) + weights @ (known - known.mean(0))).astype(np.float16)
    hashes = rng.integers(0, 1 << 63, (count, 2))
    thumbs = rng.integers(0, 255, (count, 1024)).astype(np.uint8)
    return [
        Signature(f"{n:06d}", "", "train", 1, f"{a:016x}", f"{b:016x}", thumbs[n].tobytes(), vectors[n].tobytes())
        for n, (a, b) in enumerate(hashes)
    ]
