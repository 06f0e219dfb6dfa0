"""The input of a painting: a photo, its subject and its place on a canvas."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.core.geometry import BoxPx


@dataclass(frozen=True)
class Scene:
    """A canvas with its photo.

    Args:
        photo: [1, 3, h, w] in -1..1.
        subject: [1, 1, h, w] in 0..1, the parts that must not be repeated beyond the frame.
        box: of the photo in pixels of the canvas, at the size of ``photo``.
        size: (width, height) of the canvas in pixels.
    """

    photo: Tensor
    subject: Tensor
    box: BoxPx
    size: tuple[int, int]

    def __post_init__(self) -> None:
        """Raise ValueError for a photo that is not of its box's size, or a box that is not on the canvas."""
        x1, y1, x2, y2 = self.box
        if not (0 <= x1 < x2 <= self.size[0] and 0 <= y1 < y2 <= self.size[1]):
            raise ValueError(
                f"the box {self.box} is not inside the canvas {self.size}: give x1, y1, x2, y2 in its pixels"
            )
        for name, image in (("photo", self.photo), ("subject", self.subject)):
            if tuple(image.shape[2:]) != (y2 - y1, x2 - x1):
                raise ValueError(
                    f"the {name} is {tuple(image.shape[2:])}, its box {(y2 - y1, x2 - x1)}: resize it first"
                )
