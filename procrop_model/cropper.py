"""Cropping photographs: ``Cropper.load(path)(image)``."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.geometry import BoxPx, is_distinct, to_px
from procrop_model.crop import Crop
from procrop_model.inference.aspect_search import Ranked, ShapeSearch
from procrop_model.inference.attention_maps import guidance_of
from procrop_model.inference.crop_options import Aspects, Limits, parse_aspect, parse_aspects, parse_size
from procrop_model.inference.image_input import DETAIL, Original, Picture, open_upright
from procrop_model.inference.limit_scoring import WHOLE, Rules
from procrop_model.inference.onnx_network import is_exported, load_exported
from procrop_model.inference.predictor import Floats, Looked, Predictor
from procrop_model.model_folder.save_load import SavedModel, load_model
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.fold_batchnorm import fold_norms
from procrop_model.retrieval.query_encoder import QueryEncoder

__all__ = ["Crop", "Cropper", "Limits", "open_upright", "parse_aspect", "parse_size"]
DISTINCT_IOU = 0.75
SUBJECT_SIDE = 640  # least long side of what the subject is looked for in
TOP = 3


class Cropper:
    """The trained cropper, on any photograph, with live retrieval."""

    def __init__(
        self, saved: SavedModel, device: str = "cpu", *, encoder: QueryEncoder | None = None, precision: str = "fp32"
    ) -> None:
        """encoder: of new images, for references that were not made with the embedded one. precision: ``fp32``, or ``bf16`` for
        the backbone, where most of the time goes. Raises ModelError, and UsageError for another precision.
        """
        if precision not in ("fp32", "bf16") or (precision == "bf16" and not isinstance(saved.network, CropNetwork)):
            raise UsageError(f"precision '{precision}': croppers compute in fp32 or bf16, exported ones in fp32 alone")
        if isinstance(saved.network, CropNetwork):
            saved.network.reduced = precision == "bf16"
            fold_norms(saved.network.extractor.backbone)
        self.config = saved.config
        self.trained = saved.trained
        self.database = saved.references
        self.predictor = Predictor(saved.network, saved.config, saved.references, device, encoder=encoder)

    @staticmethod
    def load(
        path: Path | str, device: str = "cpu", *, encoder: QueryEncoder | None = None, precision: str = "fp32"
    ) -> "Cropper":
        """From a folder of a trained or an exported cropper.

        encoder: any object with ``digest`` and ``encode(images)``, for references that were made with another than the
        embedded Lite0. precision: see the constructor.
        Raises ModelError when the folder is missing, foreign or damaged, or the encoder is missing or another
        one.
        """
        saved = load_exported(Path(path)) if is_exported(Path(path)) else load_model(path)
        return Cropper(saved, device, encoder=encoder, precision=precision)

    def __call__(  # noqa: PLR0913 - a user's wishes, by name
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
        """The best distinct crops of a picture, best first; fewer than ``top`` when there are no more.

        image: a path, a Pillow image or uint8 RGB [H, W, 3]; turned upright by its EXIF. aspect: "4:5", width /
        height, or None for free; a set, "1:1,4:5,free", gives the ``top`` crops of each, in its order. size: "1080x1350" or
        (width, height) of the output, which fixes the aspect. top: by default 3, or 1 of each of a set. k:
        references used. limits: what a crop has to keep. prompt: a caption, which only a model trained with text reads. Raises
        UsageError for a malformed wish, OSError for an unreadable picture.
        """
        wishes: Any = {"aspect": aspect, "size": size, "top": top, "k": k, "limits": limits}
        return self.crop_many([image], prompts=[prompt], **wishes)[0]

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
        """The same for several pictures in one pass of the network; a list of crops a picture. limits: for all, or one a
        picture. prompts: one a picture.
        """
        exact = parse_size(size)
        ratios = parse_aspects(aspect) if exact is None else [exact[0] / exact[1]]
        originals = [image if isinstance(image, Original) else Original(image) for image in images]
        if not originals:
            return []
        each = [limits or Limits()] * len(originals) if limits is None or isinstance(limits, Limits) else list(limits)
        smalls = [original.small(self.small_side(own)) for original, own in zip(originals, each, strict=True)]
        sizes = [original.size for original in originals]
        rules = [Rules(*seen) for seen in zip(each, sizes, smalls, strict=True)]
        looked = self.predictor.look(smalls, k=k, prompts=prompts)
        whole = self.predictor.score(looked, [WHOLE] * len(originals))
        plain = [self._plain(looked, i, originals[i], float(whole[i][0])) for i in range(len(originals))]
        search = ShapeSearch(self.predictor, looked, sizes, rules)
        count = top or (TOP if len(ratios) == 1 else 1)
        found: list[list[Crop]] = [[] for _ in originals]
        for ratio in ratios:
            ranked = search.ranked(ratio)
            uncut = search.largest(ratio) if any(own.margin is not None for own in each) else ranked
            for image, best in enumerate(ranked):
                margin = each[image].margin
                stays = margin is not None and best.values[0] < uncut[image].values[0] + margin
                chosen = uncut[image] if stays else best
                shaped = replace(plain[image], size=exact, aspect=ratio or 0.0, unchanged=stays)
                found[image] += _crops(shaped, chosen, rules[image], 1 if stays else count)
        return found

    def small_side(self, limits: Limits | None = None) -> int:
        """Long side in pixels that pictures are decoded at for the network, and for the subject where one is looked for."""
        side = DETAIL * max(self.config.source_side, self.config.input_side)
        return max(side, SUBJECT_SIDE) if limits is not None and limits.subject is not None else side

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

    def _plain(self, looked: Looked, image: int, original: Original, whole: float) -> Crop:
        """The whole picture as a crop, with all that its other crops share."""
        guidance = partial(guidance_of, self.predictor, looked, image)
        references = self._told(looked, image)
        return Crop(
            (0, 0, *original.size), whole, references, 0.0, None, original, whole_score=whole, guidance=guidance
        )

    def _told(self, looked: Looked, image: int) -> list[dict[str, Any]]:
        found = looked.found[image]
        entries = [self.database.entries[row] for row in found.rows]
        return [
            {"title": entry.title, "author": entry.author, "similarity": round(similarity, 4)}
            for entry, similarity in zip(entries, found.similarities, strict=True)
        ]


def _crops(plain: Crop, ranked: Ranked, rules: Rules, top: int) -> list[Crop]:
    """The best distinct crops of a picture that keep its limits; where none does, the one that lacks least."""
    count = max(1, int((ranked.values >= 0).sum()))
    kept: list[tuple[BoxPx, int]] = []
    for row, box in enumerate(ranked.boxes[:count]):
        box_px = to_px([float(x) for x in box], *rules.size)
        if len(kept) < top and is_distinct(box_px, [other for other, _ in kept], DISTINCT_IOU):
            kept.append((box_px, row))
    shares = rules.kept(ranked.boxes)
    return [
        replace(
            plain,
            box_px=box_px,
            score=float(ranked.scores[row]),
            aspect=plain.aspect or (box_px[2] - box_px[0]) / (box_px[3] - box_px[1]),
            subject_kept=float(shares[row]) if rules.has_subject else None,
            fulfilled=rules.fulfilled(ranked.boxes[row]),
        )
        for box_px, row in kept
    ]


def _sides(image: NDArray[np.uint8]) -> Floats:
    height, width = image.shape[:2]
    return np.array([width, height, width, height], np.float32)
