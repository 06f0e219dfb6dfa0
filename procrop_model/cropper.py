"""Crops photographs: ``Cropper.load(path)(image)``."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.geometry import BoxPx, is_distinct, to_norm, to_px, to_px_at
from pipeline.core.lazy_import import LazyImport
from pipeline.core.processor import PRECISIONS, precision_for
from procrop_model.crop import Crop, CropReference
from procrop_model.inference.aspect_search import AspectSearch, Ranked
from procrop_model.inference.bare_graphs import load_with_graphs
from procrop_model.inference.crop_options import Aspects, Limits, aspects_of, parse_aspect, parse_size
from procrop_model.inference.engine import Engine
from procrop_model.inference.evidence import SearchedImage, evidence_of
from procrop_model.inference.image_input import DETAIL, Original, Picture, open_upright
from procrop_model.inference.limit_scoring import WHOLE, CropConstraints
from procrop_model.inference.onnx_engine import ExportedModel, is_exported, load_exported
from procrop_model.inference.predictor import EncodedBatch, Floats, Predictor
from procrop_model.retrieval.query_encoder import QueryEncoder

if TYPE_CHECKING:
    from procrop_model.inference.torch_engine import TorchEngine
    from procrop_model.model_folder.save_load import SavedModel

__all__ = ["Crop", "Cropper", "Limits", "open_upright", "parse_aspect", "parse_size"]
DISTINCT_IOU = 0.75  # crops of one image overlap at most so much
SUBJECT_SIDE = 640  # least long side in pixels for the subject mask: U2-Net misses small subjects below
TOP = 3
# Imported when a model needs them: an exported one does without torch.
_TORCH_ENGINE: "LazyImport[Callable[[SavedModel, str, str], TorchEngine]]" = LazyImport(
    "procrop_model.inference.torch_engine:torch_engine"
)
_LOAD_MODEL: "LazyImport[Callable[[Path | str], SavedModel]]" = LazyImport(
    "procrop_model.model_folder.save_load:load_model"
)


class Cropper:
    """A trained cropper for any photograph, with live retrieval of references."""

    def __init__(
        self,
        saved: "SavedModel | ExportedModel",
        device: str = "cpu",
        *,
        encoder: QueryEncoder | None = None,
        precision: str = "fp32",
    ) -> None:
        """Raises UsageError for an unknown precision, ModelError when the encoder is missing or another one.

        Args:
            saved: a loaded model folder.
            device: torch device.
            encoder: encoder of new images, for references that were not made with the bundled Lite0.
            precision: ``fp32``; ``bf16`` for the backbone, which takes most of the time; or ``auto``, bf16 where the device has
                instructions for it. Exported croppers have fp32 only.
        """
        self.precision = _resolved(precision, device, exported=isinstance(saved, ExportedModel))
        engine: Engine = (
            saved.engine if isinstance(saved, ExportedModel) else _TORCH_ENGINE.load()(saved, device, self.precision)
        )
        self.config = saved.config
        self.trained = saved.trained
        self.database = saved.references
        self.predictor = Predictor(engine, saved.config, saved.references, device, encoder=encoder)

    @staticmethod
    def load(
        path: Path | str, device: str = "cpu", *, encoder: QueryEncoder | None = None, precision: str = "fp32"
    ) -> "Cropper":
        """The cropper in a folder, trained or exported to ONNX.

        On the processor, an exported one and one of the bundled one's sizes run in onnxruntime, others in torch.

        Args:
            path: the model folder.
            device: torch device; exported croppers run on "cpu" only.
            encoder: any object with ``digest`` and ``encode(images)``, for references that were not made with the bundled Lite0.
            precision: auto, fp32 or bf16.

        Raises ModelError when the folder is missing, damaged or not a cropper, or when the encoder is missing or another one.
        """
        return Cropper(_load(Path(path), device, precision), device, encoder=encoder, precision=precision)

    def __call__(  # noqa: PLR0913 - the options of a crop, by name
        self,
        image: Picture,
        *,
        aspect: Aspects = None,
        size: tuple[int, int] | str | None = None,
        top: int | None = None,
        k: int | None = None,
        limits: Limits | None = None,
        prompt: str = "",
    ) -> list[Crop]:
        """The best distinct crops of an image, best first; fewer than ``top`` when there are no more.

        Args:
            image: a path, a Pillow image or uint8 RGB [H, W, 3]; turned upright by its EXIF.
            aspect: "4:5", "16x9", "square", "portrait" (2:3), "landscape" (3:2), "original", width / height, or None for free.
                Several, "1:1,4:5,free", give the ``top`` crops of each, in order.
            size: "1080x1350" or (width, height) of the output in pixels, which fixes the aspect.
            top: crops per aspect; by default 3, or 1 for several aspects.
            k: references used; by default the model's.
            limits: constraints on the crops.
            prompt: a caption, used by models trained with text only.

        Raises UsageError for a malformed option, OSError for a file that cannot be decoded.
        """
        return self.crop_many([image], aspect=aspect, size=size, top=top, k=k, limits=limits, prompts=[prompt])[0]

    def crop_many(  # noqa: PLR0913 - as above
        self,
        images: Sequence[Picture | Original],
        *,
        aspect: Aspects = None,
        size: tuple[int, int] | str | None = None,
        top: int | None = None,
        k: int | None = None,
        limits: Limits | Sequence[Limits] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> list[list[Crop]]:
        """The crops of each of several images, in one pass of the network.

        limits: for all images, or one per image. prompts: one per image. The other arguments are those of ``__call__``.
        """
        exact = parse_size(size)
        aspects = aspects_of(aspect, size)
        originals = [image if isinstance(image, Original) else Original(image) for image in images]
        if not originals:
            return []
        each = [limits or Limits()] * len(originals) if limits is None or isinstance(limits, Limits) else list(limits)
        smalls = [original.small(self.small_side(own)) for original, own in zip(originals, each, strict=True)]
        sizes = [original.size for original in originals]
        constraints = [CropConstraints(*of_image) for of_image in zip(each, sizes, smalls, strict=True)]
        encoded = self.predictor.encode(smalls, k=k, prompts=prompts)
        search = AspectSearch(self.predictor, encoded, sizes, constraints)
        whole = search.scores([WHOLE] * len(originals))
        images_searched = [
            SearchedImage(encoded, i, *of, search.free_box(i))
            for i, of in enumerate(zip(originals, constraints, strict=True))
        ]
        uncropped = [self._uncropped(of, float(score[0])) for of, score in zip(images_searched, whole, strict=True)]
        count = top or (TOP if len(aspects) == 1 else 1)
        crops: list[list[Crop]] = [[] for _ in originals]
        for one in aspects:
            ranked = search.ranked(one)
            largest = search.largest(one) if any(own.margin is not None for own in each) else ranked
            for image, best in enumerate(ranked):
                margin = each[image].margin
                unchanged = margin is not None and bool(best.values[0] < largest[image].values[0] + margin)
                chosen = largest[image] if unchanged else best
                ratio = one.of(sizes[image]) or 0.0
                base = replace(uncropped[image], size=exact, aspect=ratio, aspect_name=one.name, unchanged=unchanged)
                crops[image] += _distinct_crops(base, chosen, constraints[image], count)
        return crops

    def small_side(self, limits: Limits | None = None) -> int:
        """Long side in pixels at which images are decoded: for network and faces and, if ``limits`` has one, the subject mask."""
        side = DETAIL * max(self.config.source_side, self.config.input_side)
        return max(side, SUBJECT_SIDE) if limits is not None and limits.subject is not None else side

    @property
    def states_chances(self) -> bool:
        """Whether the score of a crop is the chance of an IoU of 0.75 with the best crop; not for older croppers."""
        return self.config.answer.typical > 0

    def propose(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        k: int | None = None,
        exclude: Sequence[Collection[str]] | None = None,
    ) -> tuple[list[Floats], list[Floats]]:
        """All boxes [Q, 4] in pixels and their scores [Q] in 0..1 of each image uint8 [H, W, 3], best first.

        exclude: for each image, keys of references or photos that must not be used.
        """
        predictions = self.predictor.propose(self.predictor.encode(images, k=k, exclude=exclude))
        boxes = [p.boxes * _sides(image) for p, image in zip(predictions, images, strict=True)]
        return boxes, [p.scores for p in predictions]

    def score_boxes(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] in 0..1 of given boxes [N, 4] in pixels of each image uint8 [H, W, 3]; one backbone pass per image."""
        norm = [np.asarray(rows, np.float32) / _sides(image) for rows, image in zip(boxes, images, strict=True)]
        return self.predictor.score(self.predictor.encode(images), norm)

    def _uncropped(self, of: SearchedImage, score: float) -> Crop:
        """The whole image as a crop, with what all its crops share."""
        box, evidence = (0, 0, *of.original.size), partial(evidence_of, self.predictor, of)
        references = self._references(of.encoded, of.number)
        return Crop(box, score, references, 0.0, None, of.original, whole_score=score, evidence=evidence)

    def _references(self, encoded: EncodedBatch, image: int) -> list[CropReference]:
        neighbours = encoded.neighbours[image]
        entries = [self.database.entries[row] for row in neighbours.rows]
        return [
            {"title": entry.title, "author": entry.author, "similarity": round(similarity, 4)}
            for entry, similarity in zip(entries, neighbours.similarities, strict=True)
        ]


def _load(folder: Path, device: str, precision: str) -> "SavedModel | ExportedModel":
    """A cropper for onnxruntime where it gives the same and is quicker, else for torch. Raises ModelError."""
    if is_exported(folder):
        return load_exported(folder, device)
    quick = device == "cpu" and precision_for(precision, device) == "fp32"
    return (load_with_graphs(folder) if quick else None) or _LOAD_MODEL.load()(folder)


def _resolved(precision: str, device: str, *, exported: bool) -> str:
    """``fp32`` or ``bf16``; raises UsageError for any other precision, and for bf16 of an exported cropper."""
    if precision not in PRECISIONS or (exported and precision == "bf16"):
        raise UsageError(f"precision '{precision}': croppers compute in fp32 or bf16, exported ones in fp32 alone")
    return "fp32" if exported else precision_for(precision, device)


def _distinct_crops(base: Crop, ranked: Ranked, constraints: CropConstraints, top: int) -> list[Crop]:
    """The ``top`` best distinct crops that meet the limits; where none does, the one with the smallest violation."""
    count = 1 if base.unchanged else max(1, int((ranked.values >= 0).sum()))
    kept: list[tuple[BoxPx, int]] = []
    for row, box in enumerate(ranked.boxes[:count]):
        if len(kept) == top:
            break
        box_px = _whole_pixels(box, base.aspect, constraints)
        if is_distinct(box_px, [other for other, _ in kept], DISTINCT_IOU):
            kept.append((box_px, row))
    shares = constraints.kept(ranked.boxes)
    cuts = [constraints.faces.cuts(ranked.boxes[row]) for _, row in kept]
    crops = [
        replace(
            base,
            box_px=box_px,
            score=float(ranked.scores[row]),
            aspect=base.aspect or (box_px[2] - box_px[0]) / (box_px[3] - box_px[1]),
            subject_kept=float(shares[row]) if constraints.has_subject else None,
            fulfilled=constraints.fulfilled(ranked.boxes[row]),
            faces=len(constraints.faces),
            heads_cut=heads_cut,
            faces_cut=faces_cut,
        )
        for (box_px, row), (heads_cut, faces_cut) in zip(kept, cuts, strict=True)
    ]
    if len(crops) < top:
        crops[-1] = replace(crops[-1], fewer=_why_fewer(base, ranked))
    return crops


def _why_fewer(base: Crop, ranked: Ranked) -> str:
    if base.unchanged:
        return "the photo stays whole"
    if (ranked.values < 0).any():
        return "no other that meets the limits is distinct enough"
    return f"the others overlap with an IoU of {DISTINCT_IOU} or more"


def _whole_pixels(box: Floats, ratio: float, constraints: CropConstraints) -> BoxPx:
    """The box [4] in whole pixels: nearest to a ratio if that is not 0, and one that meets the limits if one does."""
    norm = [float(x) for x in box]
    if not ratio:
        return to_px(norm, *constraints.size)
    near = to_px_at(norm, ratio, *constraints.size)
    if not constraints.any:
        return near[0]
    boxes = np.array([to_norm(one, *constraints.size) for one in near], np.float32)
    return near[int(constraints.penalise(boxes, np.zeros(len(boxes), np.float32)).argmax())]


def _sides(image: NDArray[np.uint8]) -> Floats:
    height, width = image.shape[:2]
    return np.array([width, height, width, height], np.float32)
