"""Cropping photographs: ``Cropper.load(path)(image)``."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import UsageError
from pipeline.geometry import BoxPx, is_distinct, snap_aspect, to_norm, to_px
from procrop_model.climb import climb
from procrop_model.predict import CLIMBERS, Floats, Looked, Prediction, Predictor
from procrop_model.weights import SavedModel, load_model

Picture = Image.Image | Path | str | NDArray[np.uint8]
DISTINCT_IOU = 0.75


@dataclass(frozen=True)
class Crop:
    """A crop of one picture.

    box_px: in pixels of the upright original. score: in 0..1. references: the photographs that guided it, most
    similar first, each with title, author and similarity. aspect: width / height of what ``image`` gives. size: exact
    output size, or None.
    """

    box_px: BoxPx
    score: float
    references: list[dict[str, Any]]
    aspect: float
    size: tuple[int, int] | None
    original: Image.Image = field(repr=False)

    def image(self) -> Image.Image:
        """The crop from the full-resolution original, resampled only when an exact size was asked for."""
        if self.size is None:
            return self.original.crop(self.box_px)
        return self.original.resize(self.size, Image.Resampling.LANCZOS, box=self.box_px)

    def save(self, path: Path | str, **options: Any) -> None:
        """Writes the crop; ``options`` go to Pillow (JPEG quality 95 unless told)."""
        picture = self.image()
        if Path(path).suffix.lower() in (".jpg", ".jpeg"):
            options = {"quality": 95, **options}
            picture = picture.convert("RGB") if picture.mode not in ("RGB", "L", "CMYK") else picture
        if (profile := self.original.info.get("icc_profile")) is not None:
            options = {"icc_profile": profile, **options}
        picture.save(path, **options)


class Cropper:
    """The trained cropper, on any photograph, with live retrieval."""

    def __init__(self, saved: SavedModel, device: str = "cpu") -> None:
        self.config = saved.config
        self.trained = saved.trained
        self.database = saved.references
        self.predictor = Predictor(saved.network, saved.config, saved.references, device)

    @staticmethod
    def load(path: Path | str, device: str = "cpu") -> "Cropper":
        """From a model folder; raises ModelError when it is missing, foreign or damaged."""
        return Cropper(load_model(path), device)

    def __call__(
        self,
        image: Picture,
        *,
        aspect: str | float | None = None,
        size: tuple[int, int] | str | None = None,
        top: int = 3,
        k: int | None = None,
        prompt: str = "",
    ) -> list[Crop]:
        """The best distinct crops of a picture, best first; fewer than ``top`` when there are no more.

        image: a path, a Pillow image or uint8 RGB [H, W, 3]; turned upright by its EXIF. aspect: "4:5", width /
        height, or None for free. size: "1080x1350" or (width, height) of the output, which fixes the aspect. k:
        references used. prompt: a caption, which only a model trained with text reads. Raises UsageError for a malformed
        aspect or size, OSError for an unreadable picture.
        """
        wanted_size = parse_size(size)
        ratio = parse_aspect(aspect) if wanted_size is None else wanted_size[0] / wanted_size[1]
        original = open_upright(image)
        looked = self.predictor.look([_pixels(original)], k=k, prompts=[prompt])
        (prediction,) = self.predictor.propose(looked)
        boxes, scores = prediction.boxes, prediction.scores
        if ratio is not None:
            boxes, scores = self._fit(looked, prediction, ratio, original.size)
        references = self._explain(prediction)
        crops = []
        for box_px, score in _distinct(boxes, scores, ratio, original.size, top):
            shape = ratio if ratio is not None else (box_px[2] - box_px[0]) / (box_px[3] - box_px[1])
            crops.append(Crop(box_px, score, references, shape, wanted_size, original))
        return crops

    def propose(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        k: int | None = None,
        exclude: Sequence[Collection[str]] | None = None,
    ) -> tuple[list[Floats], list[Floats]]:
        """All crops [Q, 4] in pixels and their scores [Q] in 0..1 of each image uint8 [H, W, 3], best first."""
        predictions = self.predictor.propose(self.predictor.look(images, k=k, exclude=exclude))
        boxes = [p.boxes * _sides(image) for p, image in zip(predictions, images, strict=True)]
        return boxes, [p.scores for p in predictions]

    def score_boxes(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores in 0..1, an array [N] an image, of given boxes [N, 4] in pixels; one backbone pass an image."""
        norm = [np.asarray(rows, np.float32) / _sides(image) for rows, image in zip(boxes, images, strict=True)]
        return self.predictor.score(self.predictor.look(images), norm)

    def _fit(
        self, looked: Looked, prediction: Prediction, ratio: float, size: tuple[int, int]
    ) -> tuple[Floats, Floats]:
        """Crops brought to an aspect, judged anew and moved without losing it."""
        width, height = size
        fitted = [to_norm(c, width, height) for box in prediction.boxes for c in _at_aspect(box, ratio, size)]
        boxes = np.array(fitted, np.float32)
        (judged,) = self.predictor.score(looked, [boxes])
        leading = boxes[np.argsort(-judged, kind="stable")[:CLIMBERS]]
        (moved,), (scores,) = climb([leading], partial(self.predictor.score, looked), keep_shape=True)
        order = np.argsort(-scores, kind="stable")
        return moved[order], scores[order]

    def _explain(self, prediction: Prediction) -> list[dict[str, Any]]:
        entries = [self.database.entries[row] for row in prediction.found.rows]
        return [
            {"title": entry.title, "author": entry.author, "similarity": round(similarity, 4)}
            for entry, similarity in zip(entries, prediction.found.similarities, strict=True)
        ]


def open_upright(image: Picture) -> Image.Image:
    """A Pillow image in RGB, turned as its EXIF says; 16-bit, palette, CMYK and transparent ones are converted."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UsageError(f"an array must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return _upright(image)
    with Image.open(image) as opened:
        return _upright(opened)


def _upright(opened: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith("I;16") or upright.mode == "I":
        upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).astype(np.uint8))
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    converted = upright.convert("RGB")
    if opened.mode != "RGB":
        converted.info.pop("icc_profile", None)  # it described the other colour space
    return converted


def parse_aspect(aspect: str | float | None) -> float | None:
    """Width over height of "4:5", "1.5" or a number; None stays None. Raises UsageError."""
    if aspect is None:
        return None
    try:
        parts = [float(part) for part in str(aspect).split(":")]
        ratio = parts[0] / parts[1] if len(parts) == 2 else parts[0]
        if len(parts) <= 2 and 0.05 <= ratio <= 20:
            return ratio
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(f"aspect '{aspect}' is not understood: write it as 4:5 or 0.8, between 1:20 and 20:1")


def parse_size(size: tuple[int, int] | str | None) -> tuple[int, int] | None:
    """(width, height) of "1080x1350" or a pair; None stays None. Raises UsageError."""
    if size is None:
        return None
    try:
        width, height = (int(part) for part in (size.lower().split("x") if isinstance(size, str) else size))
        if 1 <= width <= 30000 and 1 <= height <= 30000 and parse_aspect(width / height):
            return (width, height)
    except (ValueError, TypeError):
        pass
    raise UsageError(f"size '{size}' is not understood: write it as 1080x1350")


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def _sides(image: NDArray[np.uint8]) -> Floats:
    height, width = image.shape[:2]
    return np.array([width, height, width, height], np.float32)


def _at_aspect(box: Floats, ratio: float, size: tuple[int, int]) -> Iterator[tuple[float, ...]]:
    """Boxes of an aspect near a decoded one, in pixels: of its area, and the largest inside it."""
    width, height = size
    px = (box * np.array([width, height, width, height])).astype(float).tolist()
    yield snap_aspect(px, ratio, width, height)
    inner_width = min(px[2] - px[0], (px[3] - px[1]) * ratio)
    inner_height = inner_width / ratio
    for across, down in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0)):
        x1 = px[0] + (px[2] - px[0] - inner_width) * across
        y1 = px[1] + (px[3] - px[1] - inner_height) * down
        yield (x1, y1, x1 + inner_width, y1 + inner_height)


def _distinct(
    boxes: Floats, scores: Floats, ratio: float | None, size: tuple[int, int], top: int
) -> list[tuple[BoxPx, float]]:
    kept: list[tuple[BoxPx, float]] = []
    for box, score in zip(boxes, scores, strict=True):
        box_px = to_px([float(x) for x in box], *size)
        if len(kept) < top and is_distinct(box_px, [other for other, _ in kept], DISTINCT_IOU):
            kept.append((box_px, float(score)))
    return kept
