"""One crop: where it is, how good, why, and its pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.core.geometry import BoxPx
from procrop_model.inference.attention_maps import Guidance
from procrop_model.inference.explanation_image import Thumbnails, draw
from procrop_model.inference.image_input import Original


@dataclass(frozen=True)
class Explanation:
    """Why a crop. score and whole_score: of the crop and of the uncropped picture, in 0..1; subject_kept: share of the subject
    inside, or None when none was looked for; guidance: what the references did.
    """

    score: float
    whole_score: float
    subject_kept: float | None
    guidance: Guidance

    def as_json(self) -> dict[str, Any]:
        """A JSON object; ``gain`` is the score beyond that of the whole."""
        return {
            "score": round(self.score, 4),
            "whole_score": round(self.whole_score, 4),
            "gain": round(self.score - self.whole_score, 4),
            "subject_kept": None if self.subject_kept is None else round(self.subject_kept, 4),
            **self.guidance.as_json(),
        }


@dataclass(frozen=True)
class Crop:
    """A crop of one picture.

    box_px: in pixels of the upright original. score: in 0..1. references: the photographs that guided it, most
    similar first, each with title, author and similarity. aspect: width / height of what ``image`` gives. size: exact
    output size, or None. whole_score: of the uncropped picture. subject_kept: share of the subject inside, None when none
    was looked for. fulfilled: whether all limits are kept. unchanged: whether the picture stays as it is, because no crop was
    better by the margin.
    """

    box_px: BoxPx
    score: float
    references: list[dict[str, Any]]
    aspect: float
    size: tuple[int, int] | None
    original: Original = field(repr=False)
    whole_score: float = 0.0
    subject_kept: float | None = None
    fulfilled: bool = True
    unchanged: bool = False
    guidance: Callable[[], Guidance] | None = field(default=None, repr=False, compare=False)

    def image(self) -> Image.Image:
        """The crop from the full-resolution original, resampled only when an exact size was asked for."""
        if self.size is None:
            return self.original.full().crop(self.box_px)
        return self.original.full().resize(self.size, Image.Resampling.LANCZOS, box=self.box_px)

    def save(self, path: Path | str, **options: Any) -> None:
        """Writes the crop; ``options`` go to Pillow (JPEG quality 95 unless told)."""
        picture = self.image()
        if Path(path).suffix.lower() in (".jpg", ".jpeg"):
            options = {"quality": 95, **options}
            picture = picture.convert("RGB") if picture.mode not in ("RGB", "L", "CMYK") else picture
        if (profile := self.original.full().info.get("icc_profile")) is not None:
            options = {"icc_profile": profile, **options}
        picture.save(path, **options)

    def explain(self) -> Explanation:
        """Why this crop; costs one more pass of the network behind its backbone."""
        guidance = self.guidance() if self.guidance is not None else _NO_GUIDANCE
        return Explanation(self.score, self.whole_score, self.subject_kept, guidance)

    def explain_picture(self, thumbnails: Thumbnails | None = None) -> Image.Image:
        """The picture with its cells tinted by the reference that they looked at most, the crop's frame, and the references.

        thumbnails: a reference -> its picture, or None where it is not known.
        """
        why = self.explain()
        told = f"score {why.score:.2f}, the whole {why.whole_score:.2f}"
        if why.subject_kept is not None:
            told += f", subject kept {why.subject_kept:.0%}"
        return draw(self.original.full(), self.box_px, why.guidance, told, thumbnails)


_NO_GUIDANCE = Guidance.none()
