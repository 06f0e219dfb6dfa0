"""The protocols that models sit behind. Each takes batches, names its digest and licence, and loads on first use.

Images are uint8 RGB arrays [H, W, 3]; boxes are float [N, 4] ``(x1, y1, x2, y2)`` in pixels of their image.
An instance is picklable before its first call; ``digest`` must not load the model onto a device.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import BoxPx
from stages.backends.base.picture import LazyPicture, Maps, MaskGrid

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class PaintRequest:
    """A canvas to paint around a photo.

    Args:
        photo: uint8 [h, w, 3], already at the size of ``box_px``.
        subject: mask float [h, w] in 0..1, or None.
        box_px: where the photo lies on the canvas, pixels.
        size: (width, height) of the canvas, pixels.
        seed: of this sample alone, whatever shares its batch.
        prompt: what to paint, for models that read text.
        negative_prompt: what to avoid.
        regions: label map int [H, W] of the photo, at any size, or None.
    """

    photo: Image
    subject: Floats | None
    box_px: BoxPx
    size: tuple[int, int]
    seed: int
    prompt: str = ""
    negative_prompt: str = ""
    regions: Labels | None = None


@dataclass(frozen=True)
class Declined:
    """No canvas, and why. reason: one of the outpaint stage's reject words."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Encoded:
    """Features of one image: ``vector`` [D], L2-normalised, for search; ``tokens`` [grid_h * grid_w, C] for fusion."""

    vector: Floats
    tokens: Floats
    grid: tuple[int, int]


class Model(Protocol):
    """What every backend states about itself."""

    name: str
    licence: str

    @property
    def digest(self) -> str:
        """Short sha256 that changes whenever weights or inference code change."""


class Outpainter(Model, Protocol):
    """Paints the surroundings of photos."""

    def paint(self, requests: Sequence[PaintRequest]) -> Sequence[Image | Declined]:
        """One canvas [H, W, 3] a request, in order. What it puts inside ``box_px`` is overwritten by the seam treatment."""


class Scorer(Model, Protocol):
    """Scores crops."""

    def score(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[Floats]:
        """Aesthetic scores in 0..10, one array [N] a picture, for its ``boxes`` [N, 4] in pixels.

        To score plain images, wrap each in ``LazyPicture.of``.
        """


@runtime_checkable
class Perceiving(Protocol):
    """The optional part of a scorer that computes something of a picture alone, whatever its boxes.

    The stage ``perceive`` computes that once and stores it; ``score`` then gets it back as ``LazyPicture.maps``.
    """

    def digest_of_maps(self) -> str:
        """Changes whenever the maps may change; a part of the scorer's digest."""

    def perceive(self, images: Sequence[Image], masks: Sequence[MaskGrid], segmenter: str) -> list[Maps]:
        """Maps fp16 [K, h, w] by name, one mapping an image.

        Args:
            images: uint8 [H, W, 3] each.
            masks: of their subjects.
            segmenter: digest of the segmenter that made ``masks``; a scorer trained with another one makes its own.
        """


class BoxProposer(Protocol):
    """Proposes candidate crops."""

    @property
    def digest(self) -> str:
        """Changes whenever the boxes may change."""

    def propose(self, images: Sequence[Image], own: Sequence[Collection[str]]) -> list[Floats]:
        """Boxes [N, 4] in pixels, best first, of each image.

        Args:
            images: uint8 [H, W, 3] each.
            own: for each image the keys of the photos that it was made from, which must not serve as references.
        """


class Segmenter(Model, Protocol):
    """Segments the subject."""

    def segment(self, images: Sequence[Image]) -> list[Floats]:
        """Soft subject masks [H, W] in 0..1, one an image, at the image's own size."""

    def network_masks(self, images: Sequence[Image]) -> list[Floats]:
        """The same masks [h, w] at the size that the model works at, for callers that reduce them further."""


class FaceFinder(Model, Protocol):
    """Finds human faces."""

    def detect(self, images: Sequence[Image]) -> list[Floats]:
        """Faces [N, 5] of each image, best first: xyxy in 0..1 of the image, and a score in 0..1."""


class Composer(Model, Protocol):
    """Splits a picture into regions."""

    def regions(self, images: Sequence[Image]) -> list[Labels]:
        """Label maps [H, W], one an image: 1, 2, ... for its regions, largest first; 0 for what belongs to none."""


class Encoder(Model, Protocol):
    """Turns images into features for retrieval and fusion."""

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Features, one an image."""


@dataclass(frozen=True)
class Prompts:
    """What is within the frame, what lies beyond it, and what to avoid."""

    inside: str
    beyond: str
    negative: str


class Captioner(Model, Protocol):
    """Describes photos in words."""

    def caption(self, images: Sequence[Image], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image; ``titles`` come from the credits table and may be empty."""
