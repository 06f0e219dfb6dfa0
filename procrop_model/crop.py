"""One crop of an image: its box, its score, its explanation and its pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image

from pipeline.core.geometry import BoxPx
from pipeline.core.json_types import JsonObject
from procrop_model.inference.attention_maps import AttentionMaps
from procrop_model.inference.encoding_options import with_quality
from procrop_model.inference.explanation_image import Thumbnails, draw_explanation
from procrop_model.inference.image_input import Original


class CropReference(TypedDict):
    """A reference photograph that a crop was predicted with; similarity: cosine in -1..1."""

    title: str
    author: str
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """Why a crop was chosen.

    Args:
        score: of the crop, in 0..1.
        whole_score: of the uncropped image, in 0..1.
        subject_kept: share of the subject inside the crop, or None without a subject.
        attention: what the references contributed.
    """

    score: float
    whole_score: float
    subject_kept: float | None
    attention: AttentionMaps

    def as_json(self) -> JsonObject:
        """A JSON object; ``gain`` is ``score`` minus ``whole_score``."""
        return {
            "score": round(self.score, 4),
            "whole_score": round(self.whole_score, 4),
            "gain": round(self.score - self.whole_score, 4),
            "subject_kept": None if self.subject_kept is None else round(self.subject_kept, 4),
            **self.attention.as_json(),
        }


@dataclass(frozen=True)
class Crop:
    """A crop of one image.

    Args:
        box_px: (x1, y1, x2, y2), half-open, in pixels of the upright original.
        score: in 0..1.
        references: the photographs it was predicted with, most similar first.
        aspect: width / height of what ``image`` gives.
        size: exact output size (width, height), or None.
        original: the image.
        whole_score: score of the uncropped image, in 0..1.
        subject_kept: share of the subject inside, or None without a subject.
        fulfilled: whether all limits are met.
        faces: faces found in the image.
        heads_cut: heads that are partly inside, from the top of the hair; a cut face counts as well.
        faces_cut: faces that are partly inside, from the chin to where the hair begins.
        unchanged: whether the image stays uncropped, because no crop was better by ``Limits.margin``.
        aspect_name: the aspect ratio as it was asked for, such as ``4:5``, ``square`` or ``free``.
        fewer: on the last crop of an aspect ratio, why there are fewer than were asked for; else empty.
        attention: computes the explanation; None for no references.
    """

    box_px: BoxPx
    score: float
    references: list[CropReference]
    aspect: float
    size: tuple[int, int] | None
    original: Original = field(repr=False)
    whole_score: float = 0.0
    subject_kept: float | None = None
    fulfilled: bool = True
    faces: int = 0
    heads_cut: int = 0
    faces_cut: int = 0
    unchanged: bool = False
    aspect_name: str = ""
    fewer: str = ""
    attention: Callable[[], AttentionMaps] | None = field(default=None, repr=False, compare=False)

    def image(self) -> Image.Image:
        """The crop of the full-resolution original; resampled only for an exact ``size``."""
        return self._of(self.original.full())

    def save(self, path: Path | str, *, quality: int = 0, keep_gps: bool = False, **options: Any) -> None:
        """Writes the crop in the format of the suffix, encoded as the original, with its colour profile and metadata.

        Args:
            path: of the file.
            quality: of a JPEG or WebP, 1 to 100; 0: the original's own, 95 for a JPEG of an original that is none.
            keep_gps: whether EXIF and XMP keep the place.
            options: passed to Pillow.
        """
        kind = Image.registered_extensions().get(Path(path).suffix.lower(), "")
        image = self._of(self.original.native(kind))
        encoding = self.original.encoding.get(kind, {})
        if quality:
            encoding = with_quality(encoding, quality)
        metadata = self.original.metadata.options(kind, image.size, keep_gps=keep_gps)
        profile = self.original.native(kind).info.get("icc_profile")
        image.info.pop("icc_profile", None)
        image.save(path, **{**encoding, **metadata, **({"icc_profile": profile} if profile else {}), **options})

    def _of(self, picture: Image.Image) -> Image.Image:
        if self.size is None:
            return picture.crop(self.box_px)
        return picture.resize(self.size, Image.Resampling.LANCZOS, box=self.box_px)

    def explain(self) -> Explanation:
        """Why this crop was chosen; costs one more pass of the network without its backbone."""
        attention = self.attention() if self.attention is not None else AttentionMaps.none()
        return Explanation(self.score, self.whole_score, self.subject_kept, attention)

    def explain_picture(self, thumbnails: Thumbnails | None = None) -> Image.Image:
        """The image with the crop's frame, its cells tinted by the reference they attend to most, and the references beside it.

        thumbnails: gives the image of a reference, or None where it has none.
        """
        explanation = self.explain()
        caption = f"score {explanation.score:.2f}, the whole {explanation.whole_score:.2f}"
        if explanation.subject_kept is not None:
            caption += f", subject kept {explanation.subject_kept:.0%}"
        return draw_explanation(self.original.full(), self.box_px, explanation.attention, caption, thumbnails)
