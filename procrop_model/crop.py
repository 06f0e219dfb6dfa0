"""One crop of an image: its box, its score, its explanation and its pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image

from pipeline.core.geometry import BoxPx
from procrop_model.inference.deep_colour import cut, encode_deep
from procrop_model.inference.encoding_options import with_quality
from procrop_model.inference.explanation import CropFacts, Evidence, Explanation, explanation_of
from procrop_model.inference.explanation_image import Thumbnails, draw_explanation
from procrop_model.inference.image_input import Original
from procrop_model.inference.lossless_crop import box_on_blocks, crop_lossless, stored_box


class CropReference(TypedDict):
    """A reference photograph that a crop was predicted with; similarity: cosine in -1..1."""

    title: str
    author: str
    similarity: float


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
        evidence: computes what an explanation is made of; None where nothing is known.
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
    evidence: Callable[[], Evidence] | None = field(default=None, repr=False, compare=False)

    def image(self) -> Image.Image:
        """The crop of the full-resolution original; resampled only for an exact ``size``."""
        return self._of(self.original.full())

    def save(
        self, path: Path | str, *, quality: int = 0, keep_gps: bool = False, lossless: bool = False, **options: Any
    ) -> None:
        """Writes the crop in the format of the suffix, encoded as the original, with its colour profile and metadata.

        Args:
            path: of the file.
            quality: of a JPEG or WebP, 1 to 100; 0: the original's own, 95 for a JPEG of an original that is none.
            keep_gps: whether EXIF and XMP keep the place.
            lossless: copy the blocks of a JPEG file; the box must be that of ``on_blocks``. Other crops are encoded.
            options: passed to Pillow.

        Raises UsageError where ``lossless`` needs a library that is missing.
        """
        kind = Image.registered_extensions().get(Path(path).suffix.lower(), "")
        if lossless and self.can_be_lossless and kind == "JPEG":
            Path(path).write_bytes(self._lossless(keep_gps=keep_gps))
            return
        encoding = self.original.encoding.get(kind, {})
        if quality:
            encoding = with_quality(encoding, quality)
        metadata = self.original.metadata.options(kind, self.size or self._box_size, keep_gps=keep_gps)
        if (deep := self.original.deep(kind)) is not None:
            body = encode_deep(
                cut(deep, self.box_px, self.size), kind, {**encoding, **metadata, **self._file_profile()}
            )
            Path(path).write_bytes(body)
            return
        image = self._of(self.original.native(kind))
        profile = self.original.native(kind).info.get("icc_profile")
        image.info.pop("icc_profile", None)
        image.save(path, **{**encoding, **metadata, **({"icc_profile": profile} if profile else {}), **options})

    @property
    def can_be_lossless(self) -> bool:
        """Whether the crop is a part of a JPEG file, not resampled."""
        return self.original.block != (0, 0) and self.original.file is not None and self.size is None

    def on_blocks(self) -> "Crop":
        """The crop, enlarged by less than a block at two sides so that it can be written without loss; itself if it cannot be."""
        if not self.can_be_lossless:
            return self
        original = self.original
        box = box_on_blocks(self.box_px, original.size, original.orientation, original.block)
        return replace(self, box_px=box, aspect=(box[2] - box[0]) / (box[3] - box[1]))

    def _lossless(self, *, keep_gps: bool) -> bytes:
        original = self.original
        box = stored_box(self.box_px, original.size, original.orientation)
        size = (box[2] - box[0], box[3] - box[1])
        metadata = original.metadata.options("JPEG", size, keep_gps=keep_gps, orientation=original.orientation)
        assert original.file is not None
        return crop_lossless(original.file, box, {**metadata, **self._file_profile()})

    def _file_profile(self) -> dict[str, bytes]:
        return {"icc_profile": self.original.icc_profile} if self.original.icc_profile else {}

    @property
    def _box_size(self) -> tuple[int, int]:
        return (self.box_px[2] - self.box_px[0], self.box_px[3] - self.box_px[1])

    def _of(self, picture: Image.Image) -> Image.Image:
        if self.size is None:
            return picture.crop(self.box_px)
        return picture.resize(self.size, Image.Resampling.LANCZOS, box=self.box_px)

    def explain(self) -> Explanation:
        """Why this crop was chosen; costs one more pass of the network."""
        evidence = self.evidence() if self.evidence is not None else Evidence()
        facts = CropFacts(
            self.box_px,
            self.original.size,
            self.aspect_name,
            self.subject_kept,
            self.faces,
            self.heads_cut,
            self.unchanged,
        )
        return explanation_of(facts, self.score, self.whole_score, evidence)

    def explain_picture(self, thumbnails: Thumbnails | None = None) -> Image.Image:
        """The image with this crop bright, the frame that the model wanted without limits, the references, and the sentences.

        thumbnails: gives the image of a reference, or None where it has none.
        """
        return draw_explanation(self.original.full(), self.box_px, self.explain(), thumbnails)
