"""Training pictures: photos placed on canvases and out-painted, and the joint degradations that hide the seam."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter

from pipeline.seeds import seed_for
from stages.backends.protocols import Declined, Image, Outpainter, PaintRequest, Segmenter
from stages.placement import PlacementSettings, place
from stages.scorer_training.pairs import Example, canvas_example, inside_example
from stages.scorer_training.photographs import Photograph
from stages.seam import SeamSettings, paste

PLACEMENT = PlacementSettings(area=(0.25, 0.6))
SEAM = SeamSettings()
PAINT_BATCH = 4


@dataclass(frozen=True)
class CanvasMaker:
    """Examples from photographs. variants: canvases a photo; long_side: of a canvas, in pixels."""

    outpainter: Outpainter
    segmenter: Segmenter
    variants: int
    long_side: int
    seed: int

    def canvases(self, photographs: Sequence[Photograph], progress: Callable[[str], None]) -> list[Example]:
        """One example a photo and variant, in order, each seeded by its photo's name alone."""
        jobs = [(photograph, variant) for photograph in photographs for variant in range(self.variants)]
        examples: list[Example] = []
        for start in range(0, len(jobs), PAINT_BATCH):
            batch = jobs[start : start + PAINT_BATCH]
            requests = [self._request(*job) for job in batch]
            for job, request, canvas in zip(batch, requests, self.outpainter.paint(requests), strict=True):
                if not isinstance(canvas, Declined):  # there is nothing to learn from
                    examples.append(self._example(*job, request, canvas))
            progress(f"out-painted {len(examples)} of {len(jobs)} canvases")
        return examples

    def insides(self, photographs: Sequence[Photograph], per_photo: int) -> list[Example]:
        """Examples of crops inside each photo, without any painting."""
        examples = []
        for photograph in photographs:
            small = shrink(photograph.pixels, 2 * self.long_side)
            (mask,) = self.segmenter.segment([small])
            for turn in range(per_photo):
                rng = np.random.default_rng(seed_for(self.seed, "scorer-inside", photograph.name, turn))
                examples.append(inside_example(small, mask, photograph.name, rng))
        return [example for example in examples if example.pairs]

    def _request(self, photograph: Photograph, variant: int) -> PaintRequest:
        seed = seed_for(self.seed, "scorer-canvas", photograph.name, variant)
        height, width = photograph.pixels.shape[:2]
        placement = place((width, height), self.long_side, PLACEMENT, seed)
        x1, y1, x2, y2 = placement.box_px
        sized = Pillow.fromarray(photograph.pixels).resize((x2 - x1, y2 - y1), Pillow.Resampling.LANCZOS)
        (mask,) = self.segmenter.segment([photograph.pixels])
        subject = Pillow.fromarray(mask).resize(sized.size, Pillow.Resampling.BILINEAR)
        return PaintRequest(np.asarray(sized), np.asarray(subject), placement.box_px, placement.size, seed)

    def _example(self, photograph: Photograph, variant: int, request: PaintRequest, painted: Image) -> Example:
        canvas = paste(painted, request.photo, request.box_px, SEAM)
        rng = np.random.default_rng(seed_for(self.seed, "scorer-pairs", photograph.name, variant))
        assert request.subject is not None
        box = np.array(request.box_px, np.float64)
        return canvas_example(canvas, box, request.subject, photograph.name, rng)


def shrink(picture: Image, long_side: int) -> Image:
    """The picture with its long side at most ``long_side``."""
    copy = Pillow.fromarray(picture)
    copy.thumbnail((long_side, long_side), Pillow.Resampling.LANCZOS)
    return np.asarray(copy)


def mirrored(example: Example) -> Example:
    """The same crops of the picture seen in a mirror."""
    boxes = example.boxes.copy()
    boxes[:, [0, 2]] = 1 - example.boxes[:, [2, 0]]
    return Example(example.photo, np.ascontiguousarray(example.picture[:, ::-1]), boxes, example.pairs)


def degraded(picture: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """The whole picture resized down and up, blurred, given noise and re-encoded, so that no seam can be the cue.

    strength: 0 leaves it as it is; 1 is what training uses; 2 is the stress test.
    """
    if strength == 0:
        return picture
    height, width = picture.shape[:2]
    scale = 1 - rng.uniform(0.0, 0.4) * min(strength, 1.5)
    image = Pillow.fromarray(picture).resize((max(8, round(width * scale)), max(8, round(height * scale))))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 1.2) * strength)).resize((width, height))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 5) * strength, (height, width, 1))
    stream = io.BytesIO()
    quality = max(10, round(rng.uniform(90 - 50 * strength, 95)))
    Pillow.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    with Pillow.open(stream) as encoded:
        return np.asarray(encoded.convert("RGB"))
