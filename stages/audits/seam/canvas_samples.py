"""Samples of the audit: a run's canvases, with another treatment or as they are, and controls of its unpainted photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from pipeline.core.errors import MissingUpstreamError
from pipeline.core.geometry import BoxPx
from pipeline.core.seeds import fraction_of, seed_for
from pipeline.core.stage import R, Tables
from stages.audits.seam.patches import LabelledCanvas, Pixels, mask_of
from stages.canvases.seam_treatment import SeamSettings, kept_psnr, treat
from stages.photos.decode import encode_jpeg, to_array

CONTROL_BLUR = 3.0  # pixels: a blur that any sound probe detects


@dataclass(frozen=True)
class _ImagePlace:
    """Where the image of a photo is in the tar of its shard."""

    key: str
    image_offset: int
    image_size: int


@dataclass(frozen=True)
class _CanvasRow(_ImagePlace):
    """The columns of a canvas that an audit reads."""

    photo: str
    photo_box: list[int]
    subject_box: list[int]
    outpainter: str
    seam: str


@dataclass(frozen=True)
class AuditedCanvas:
    """A canvas of the run as it is stored.

    Args:
        key: of the canvas.
        photo: key of its photograph.
        pixels: uint8 [H, W, 3].
        original: uint8 [h, w, 3], the photograph at the size that it has on the canvas.
        box_px: of the photograph on the canvas.
        subject_px: bounds of the subject on the canvas; None without one.
        recipe: (out-painter, seam treatment) that made it.
    """

    key: str
    photo: str
    pixels: Pixels
    original: Pixels
    box_px: BoxPx
    subject_px: BoxPx | None
    recipe: tuple[str, str]

    @property
    def scene(self) -> LabelledCanvas:
        """The canvas with the mask of its photo."""
        height, width = self.pixels.shape[:2]
        return LabelledCanvas(self.key, self.photo, self.pixels, mask_of(self.box_px, width, height))


def _rows(tables: Tables, stage: str, record: type[R]) -> list[tuple[int, R]]:
    """Kept rows of all shards, each with the number of its shard."""
    return [(shard, row) for shard in tables.shards(stage) for row in tables.rows(stage, shard, record)]


class Canvases:
    """Kept canvases of a run, ordered by key, spread over its photos as evenly as possible.

    Args:
        tables: of the run; MissingUpstreamError when it has no canvases.
        limit: canvases at most.
    """

    def __init__(self, tables: Tables, limit: int) -> None:
        self._tables = tables
        rows = _rows(tables, "outpaint", _CanvasRow)
        if not rows:
            raise MissingUpstreamError("the audit needs canvases: run 'procrop-data outpaint --with-upstream' first")
        turns = sorted(rows, key=lambda at: (at[1].key.rsplit("-", 1)[-1], fraction_of(0, "seam audit", at[1].key)))
        self._rows = sorted(turns[:limit], key=lambda at: at[1].key)
        self._photos = {place.key: (shard, place) for shard, place in _rows(tables, "ingest", _ImagePlace)}
        self.photograph = lru_cache(maxsize=1)(self._photograph)  # rows are in the order of their photos

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[AuditedCanvas]:
        for shard, row in self._rows:
            x1, y1, x2, y2 = row.photo_box
            original = Image.fromarray(self.photograph(row.photo)).resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS)
            yield AuditedCanvas(
                key=row.key,
                photo=row.photo,
                pixels=self._image("outpaint", shard, row),
                original=np.asarray(original),
                box_px=(x1, y1, x2, y2),
                subject_px=(s[0], s[1], s[2], s[3]) if (s := row.subject_box) else None,
                recipe=(row.outpainter, row.seam),
            )

    def _photograph(self, key: str) -> Pixels:
        """The whole photograph, uint8 [H, W, 3]."""
        return self._image("ingest", *self._photos[key])

    def _image(self, stage: str, shard: int, place: _ImagePlace) -> Pixels:
        path = self._tables.path(stage, shard)
        return to_array(self._tables.read_range(path, place.image_offset, place.image_size))


def treated(canvases: Sequence[AuditedCanvas], settings: SeamSettings) -> tuple[list[LabelledCanvas], float]:
    """Stored canvases with a treatment applied, and its mean PSNR inside the photo in dB.

    Both sides of a stored canvas went through its JPEG already; the treatment ends with one of its own.
    """
    scenes, kept = [], []
    for canvas in canvases:
        x1, y1, x2, y2 = canvas.box_px
        height, width = canvas.pixels.shape[:2]
        pixels = treat(
            canvas.pixels, canvas.pixels[y1:y2, x1:x2], canvas.box_px, settings,
            size=(width, height), seed=seed_for(0, "seam audit", canvas.key),
        )  # fmt: skip
        pixels = to_array(encode_jpeg(Image.fromarray(pixels), settings.jpeg_quality))
        kept.append(kept_psnr(pixels, canvas.original, canvas.box_px))
        scenes.append(LabelledCanvas(canvas.key, canvas.photo, pixels, canvas.scene.inside))
    return scenes, float(np.mean(kept))


def controls(canvases: Canvases, seed: int) -> dict[str, list[LabelledCanvas]]:
    """Pictures without any paint, a window of the photograph for each canvas, of its size. By name:

    ``random``: with the canvas's rectangle at a random place, and again half a picture further, both wrapped around the
    picture's edges, so that every place is inside as often as outside: a sound probe is at chance. ``blurred``: at the
    first of these places, blurred outside the rectangle: a sound probe separates all. ``real``: the rectangle where the
    canvas has it: the result of a perfect painter, as the middle of a photograph differs from its surroundings.
    """
    samples: dict[str, list[LabelledCanvas]] = {"random": [], "blurred": [], "real": []}
    for canvas in canvases:
        height, width = canvas.pixels.shape[:2]
        rng = np.random.default_rng(seed_for(seed, "seam control", canvas.key))
        image = _window(canvases.photograph(canvas.photo), (width, height), rng)
        placed = mask_of(canvas.box_px, width, height)
        anywhere = np.roll(placed, (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
        opposite = np.roll(anywhere, (height // 2, width // 2), (0, 1))
        blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(CONTROL_BLUR)))
        part = Image.fromarray(np.where(anywhere[..., None], np.asarray(image), blurred))
        plain, mixed = to_array(encode_jpeg(image)), to_array(encode_jpeg(part))
        samples["random"].append(LabelledCanvas(canvas.key, canvas.photo, plain, anywhere))
        samples["random"].append(LabelledCanvas(f"{canvas.key}-opposite", canvas.photo, plain, opposite))
        samples["blurred"].append(LabelledCanvas(canvas.key, canvas.photo, mixed, anywhere))
        samples["real"].append(LabelledCanvas(canvas.key, canvas.photo, plain, placed))
    return samples


def unpainted(canvases: Canvases, canvas: AuditedCanvas, seed: int) -> Pixels:
    """A window of the canvas's photograph at the canvas's size, uint8 [H, W, 3], with no paint in it."""
    height, width = canvas.pixels.shape[:2]
    rng = np.random.default_rng(seed_for(seed, "unpainted", canvas.key))
    return np.asarray(_window(canvases.photograph(canvas.photo), (width, height), rng))


def _window(photograph: Pixels, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A part of a photograph, 0.7 to 1 of the largest of that shape, resized to ``size`` (width, height)."""
    height, width = photograph.shape[:2]
    scale = min(width / size[0], height / size[1]) * rng.uniform(0.7, 1.0)
    w, h = scale * size[0], scale * size[1]
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return Image.fromarray(photograph).resize(size, Image.Resampling.LANCZOS, box=(x, y, x + w, y + h))
