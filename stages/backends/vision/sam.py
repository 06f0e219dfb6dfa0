"""Segment Anything in three roles: encoder, segmenter of the subject, and composer of a picture's regions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.core.lazy_import import LazyImport
from pipeline.core.seeds import digest_of
from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.protocols import Encoded, Floats, Image, Labels, Segmenter
from stages.backends.vision.u2net import U2NetSegmenter

if TYPE_CHECKING:
    from stages.backends.vision.sam_engine import SamEngine

ENGINE: "LazyImport[type[SamEngine]]" = LazyImport("stages.backends.vision.sam_engine:SamEngine")
MIN_AGREEMENT = 0.3  # IoU of SAM's mask with U2-NetP's; below, SAM has outlined something else


class SamSettings(CheckpointSettings):
    """A SAM checkpoint.

    Args:
        model: an official checkpoint (``sam_vit_b_01ec64.pth``, any size), or a folder or hub id in transformers' layout.
        dtype: of the weights and activations.
        batch: images encoded together.
    """

    kind: Literal["sam"]
    model: str = "facebook/sam-vit-base"
    revision: str = ""
    licence: str = "Apache-2.0"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int = Field(4, ge=1)


class SamEncoderSettings(SamSettings):
    """SAM as an encoder.

    Args:
        grid: rows and columns that the 64 x 64 features are pooled to; 8, so 64 tokens, as published.
    """

    grid: int = Field(8, ge=1, le=64)

    def build(self) -> "SamEncoder":
        """The backend; nothing is loaded yet."""
        return SamEncoder(self)


class SamSegmenterSettings(SamSettings):
    """U2-NetP locates the subject, SAM draws its outline.

    Args:
        threshold: of U2-NetP's mask, for the box that SAM is prompted with.
    """

    threshold: float = Field(0.5, gt=0, lt=1)

    def build(self) -> "SamSegmenter":
        """The backend; nothing is loaded yet."""
        return SamSegmenter(self, U2NetSegmenter())


class SamComposerSettings(SamSettings):
    """SAM as a composer: all masks of a picture. The defaults of points, min_iou, min_stability and max_overlap are SAM's own.

    Args:
        points: rows and columns of the grid of point prompts.
        min_iou: least IoU that SAM estimates for a mask.
        min_stability: least IoU of a mask with itself at a higher and a lower threshold.
        max_overlap: IoU of the boxes of two masks above which only the better one is kept.
        min_area: least share of the picture that a mask covers.
    """

    points: int = Field(32, ge=2, le=64)
    min_iou: float = 0.88
    min_stability: float = 0.95
    max_overlap: float = Field(0.7, gt=0, le=1)
    min_area: float = Field(0.002, ge=0, lt=1)

    def build(self) -> "SamComposer":
        """The backend; nothing is loaded yet."""
        return SamComposer(self)


class SamEncoder(FromCheckpoint[SamEncoderSettings, "SamEngine"]):
    """Implements ``Encoder``: features [256, 64, 64] of the picture at 1024 pixels, pooled over the picture without its padding."""

    def __init__(self, settings: SamEncoderSettings) -> None:
        super().__init__("sam", settings, ENGINE)

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Vector [256] and tokens [grid * grid, 256], one an image; ModelError when the checkpoint does not load."""
        side = self._settings.grid
        features = self._loaded().pooled(images, side) if images else []
        return [Encoded(vector, tokens, (side, side)) for vector, tokens in features]


class SamSegmenter(FromCheckpoint[SamSegmenterSettings, "SamEngine"]):
    """Implements ``Segmenter``. Where U2-NetP's mask is empty, or SAM's differs from it too much, U2-NetP's is kept."""

    def __init__(self, settings: SamSegmenterSettings, finder: Segmenter) -> None:
        super().__init__("sam", settings, ENGINE)
        self._finder = finder
        self.name = f"sam, found by {finder.name}"
        self.licence = "; ".join(dict.fromkeys((settings.licence, finder.licence)))

    @property
    def digest(self) -> str:
        """Of both models."""
        return digest_of([super().digest, self._finder.digest])[:16]

    def segment(self, images: Sequence[Image]) -> list[Floats]:
        """Soft masks [H, W] in 0..1, one an image."""
        return [self._outlined(image, mask) for image, mask in zip(images, self._finder.segment(images), strict=True)]

    def network_masks(self, images: Sequence[Image]) -> list[Floats]:
        """The same: SAM's outlines are compared with U2-NetP's at the image's own size."""
        return self.segment(images)

    def _outlined(self, image: Image, coarse: Floats) -> Floats:
        inside = coarse > self._settings.threshold
        if not inside.any():
            return coarse
        rows, columns = np.nonzero(inside)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        outlined = self._loaded().mask_in(image, box)
        drawn = outlined > 0.5
        agree = (drawn & inside).sum() / max(1, (drawn | inside).sum())
        return outlined if agree > MIN_AGREEMENT else coarse


class SamComposer(FromCheckpoint[SamComposerSettings, "SamEngine"]):
    """Implements ``Composer``: masks of a grid of prompts, the good and distinct ones drawn over one another, small over large.

    Masks are compared at the 256 pixels that SAM draws them at, not at the picture's own size: a region's edge may be off
    by a few pixels of the photo, which a ControlNet's guidance does not need.
    """

    def __init__(self, settings: SamComposerSettings) -> None:
        super().__init__("sam", settings, ENGINE)

    def regions(self, images: Sequence[Image]) -> list[Labels]:
        """Label maps [H, W], one an image: 1 for the largest region, 0 for none."""
        return [self._loaded().regions(image, self._settings) for image in images]
