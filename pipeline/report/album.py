"""The pictures of the page: each is embedded once as a small data URI and may be shown many times, whole or cropped."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.core.pictures import decoder_errors, orientation_of, upright, upright_size

THUMB, MEDIUM, LARGE = 256, 384, 720
# Maximum bytes of a picture by its longest side; with the counts of the sections they bound the size of the page.
_CAPS = {THUMB: 14_000, MEDIUM: 30_000, LARGE: 90_000}
_QUALITIES = (84, 74, 62, 48)  # of JPEG, tried in order until the picture is small enough

Box = Sequence[float]


@dataclass(frozen=True)
class Picture:
    """One embedded picture. width, height: in pixels of the original, the frame of every box drawn on it."""

    anchor: str
    uri: str
    width: int
    height: int


class Album:
    """Collects pictures, and the photos that they come from for the credits."""

    def __init__(self) -> None:
        self.pictures: dict[str, Picture] = {}
        self.photos: set[str] = set()

    def add(self, name: str, data: bytes, side: int = MEDIUM) -> Picture:
        """Embed a picture under a name; an existing name gives its picture. Raises OSError for bytes that cannot be decoded.

        Args:
            name: of the picture within the page.
            data: the encoded image.
            side: longest side in pixels: THUMB, MEDIUM or LARGE.
        """
        if name not in self.pictures:
            small, size = thumbnail_jpeg(data, side)
            uri = "data:image/jpeg;base64," + base64.b64encode(small).decode()
            self.pictures[name] = Picture(f"p{len(self.pictures)}", uri, *size)
        return self.pictures[name]

    def show(self, photo: str) -> None:
        """Record that something made from this photo is shown."""
        self.photos.add(photo)


def thumbnail_jpeg(data: bytes, side: int) -> tuple[bytes, tuple[int, int]]:
    """JPEG bytes of at most ``side`` pixels and the cap for that size, and the upright size of the original.

    A small upright JPEG is not encoded again, so that the page shows the bytes of the dataset.
    """
    cap = _CAPS[side]
    with decoder_errors(), Image.open(io.BytesIO(data)) as image:
        plain = image.format == "JPEG" and orientation_of(image) == 1 and image.mode in ("RGB", "L")
        if plain and max(image.size) <= side and len(data) <= cap:
            return data, image.size
        size = upright_size(image)
        image.draft("RGB", (side * 2, side * 2))
        small = upright(image).convert("RGB")
    while True:
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            sink = io.BytesIO()
            small.save(sink, "JPEG", quality=quality, optimize=True)
            if sink.tell() <= cap:
                return sink.getvalue(), size
        side = side * 3 // 4
