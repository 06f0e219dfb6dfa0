"""Photographs on painted canvases, as the recipe makes them; finished canvases are kept, so that a training can resume."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from pipeline.core.geometry import BoxPx
from pipeline.core.replace_file import replacing
from pipeline.core.seeds import digest_of, seed_for
from stages.backends.base.protocols import Declined, Floats, Image, Outpainter, PaintRequest, Segmenter
from stages.canvases.placement import Placement, PlacementSettings, place
from stages.canvases.seam_treatment import SeamSettings, enlarged, treat
from stages.training.scorer.photo_folder import Photograph

PLACEMENT = PlacementSettings(area=(0.25, 0.6))
SEAM = SeamSettings()


@dataclass(frozen=True)
class PaintedCanvas:
    """A canvas with its photo.

    Args:
        canvas: uint8 [H, W, 3].
        box_px: of the photo on it.
        subject: the photo's own mask [h, w], at the box's size.
    """

    canvas: Image
    box_px: BoxPx
    subject: Floats


@dataclass(frozen=True)
class CanvasPainter:
    """Paints canvases with the recipe's default seam treatment.

    Args:
        outpainter: that paints.
        segmenter: of the photos' subjects.
        long_side: of a canvas in pixels.
        seed: of placement, paint and grain.
        kept: folder of the canvases that are finished.
    """

    outpainter: Outpainter
    segmenter: Segmenter
    long_side: int
    seed: int
    kept: Path

    def paint(self, photograph: Photograph, variants: int) -> list[PaintedCanvas]:
        """The first ``variants`` canvases of a photo, without the declined ones; each is seeded by the photo's name alone."""
        (mask,) = self.segmenter.segment([photograph.pixels])
        seeds = [seed_for(self.seed, "scorer-canvas", photograph.name, variant) for variant in range(variants)]
        size = (photograph.pixels.shape[1], photograph.pixels.shape[0])
        drawn = [place(size, self.long_side, PLACEMENT, seed) for seed in seeds]
        files = [self._file(photograph, placement, seed) for placement, seed in zip(drawn, seeds, strict=True)]
        missing = [number for number, file in enumerate(files) if not file.is_file()]
        requests = [_request(photograph.pixels, mask, drawn[number], seeds[number]) for number in missing]
        for number, request, painted in zip(missing, requests, self.outpainter.paint(requests), strict=True):
            if isinstance(painted, Declined):
                continue
            placement = drawn[number]
            canvas = treat(painted, request.photo, request.box_px, SEAM, size=placement.size, seed=seeds[number])
            _write(files[number], canvas)
        return [
            PaintedCanvas(_read(file), placement.box_px, _sized(mask, placement.box_px))
            for file, placement in zip(files, drawn, strict=True)
            if file.is_file()
        ]

    def _file(self, photograph: Photograph, placement: Placement, seed: int) -> Path:
        pixels = digest_of(photograph.pixels.tobytes().hex())
        made_from = [
            self.outpainter.digest,
            self.segmenter.digest,
            SEAM.model_dump(mode="json"),
            pixels,
            placement.box_px,
        ]
        return self.kept / f"{digest_of([*made_from, placement.size, seed])[:32]}.png"


def _request(pixels: Image, mask: Floats, placement: Placement, seed: int) -> PaintRequest:
    box, size = enlarged(placement.box_px, placement.size, SEAM.scale)
    photo = Pillow.fromarray(pixels).resize((box[2] - box[0], box[3] - box[1]), Pillow.Resampling.LANCZOS)
    return PaintRequest(np.asarray(photo), _sized(mask, box), box, size, seed)


def _sized(mask: Floats, box: Sequence[int]) -> Floats:
    resized = Pillow.fromarray(mask).resize((box[2] - box[0], box[3] - box[1]), Pillow.Resampling.BILINEAR)
    return np.asarray(resized)


def _write(file: Path, canvas: Image) -> None:
    """The file is complete whenever it exists."""
    with replacing(file) as aside:
        Pillow.fromarray(canvas).save(aside, "PNG")


def _read(file: Path) -> Image:
    with Pillow.open(file) as opened:
        return np.asarray(opened.convert("RGB"))
