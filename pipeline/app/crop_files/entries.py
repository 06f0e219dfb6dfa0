"""Results of cropping files, in the form of ``crop --json``."""

from typing import TYPE_CHECKING, NotRequired, TypedDict

from pipeline.core.json_types import JsonObject

if TYPE_CHECKING:
    from procrop_model.crop import CropReference


class CropRecord(TypedDict):
    """One crop; the fields are those of ``procrop_model.Crop``.

    box_px: (x1, y1, x2, y2) in pixels of the upright original. references: the photographs that guided the crop, each with
    title, author and similarity. aspect_name: as it was asked for. fewer: why there are fewer than ``--top``, on the last crop of
    an aspect. explanation: only if it was requested.
    """

    box_px: list[int]
    score: float
    aspect: float
    aspect_name: str
    whole_score: float
    subject_kept: float | None
    fulfilled: bool
    faces: int
    heads_cut: int
    faces_cut: int
    unchanged: bool
    references: "list[CropReference]"
    fewer: NotRequired[str]
    explanation: NotRequired[JsonObject]


class PhotoRecord(TypedDict):
    """One photograph. width, height: in pixels, 0 if it cannot be read. files: the written crops, in the order of ``crops``.

    error: why it has no crops.
    """

    file: str
    width: int
    height: int
    files: list[str]
    crops: list[CropRecord]
    error: NotRequired[str]
