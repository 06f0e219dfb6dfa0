"""The models of an evaluation: what is measured, and the baselines that use the image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UsageError
from pipeline.core.processor import device_for

if TYPE_CHECKING:
    from procrop_model import Cropper
    from procrop_model.datasets.labelled import LabelledImage
    from procrop_model.evaluation.baselines import Finder
    from procrop_model.evaluation.sources import BoxSource
    from stages.backends.base.protocols import Scorer


def load_cropper(folder: Path, device: str) -> "Cropper":
    """The cropper of a folder, on a device; ``auto`` is a GPU if there is one."""
    import torch

    from procrop_model import Cropper

    chosen = device_for(device, torch.cuda.device_count())
    return Cropper.load(folder, device=chosen, precision="fp32")  # figures that compare between machines


def image_finders(margin: float | None = None) -> "dict[str, Finder]":
    """The baselines that look at the picture, with the segmenter of the stages, which ``procrop_model`` must not import."""
    from procrop_model.evaluation.baselines import MARGIN, finders
    from stages.backends.vision.u2net import U2NetSegmenter

    return finders(U2NetSegmenter().segment, MARGIN if margin is None else margin)


def scorer_source(name: str) -> "BoxSource":
    """A scorer as what is measured. name: its ``kind`` in a recipe's ``models.scorer``, or a folder that ``train-scorer`` wrote."""
    from procrop_model.evaluation.sources import ScorerSource
    from stages.backends.scorers.perceiving import score_images

    scorer = _scorer(name)
    return ScorerSource(lambda pixels, boxes: score_images(scorer, [pixels], [boxes])[0])


def boxes_source(table: str, images: "Sequence[LabelledImage]") -> "BoxSource":
    """The boxes of a CSV as what is measured."""
    from procrop_model.datasets.box_file import read_box_file
    from procrop_model.evaluation.sources import GivenBoxes

    return GivenBoxes(read_box_file(table, images))


def _scorer(name: str) -> "Scorer":
    from pydantic import ValidationError

    from pipeline.planning.recipe_errors import mistake_text
    from stages.backends.registry import ModelSettings

    chosen = {"kind": "composition", "folder": name} if Path(name).is_dir() else {"kind": name}
    try:
        return ModelSettings.model_validate({"scorer": chosen}).scorer.build()
    except ValidationError as error:
        reason = mistake_text(ModelSettings, error)
        raise UsageError(
            f"--scorer '{name}': no such folder, and no scorer that needs no settings: {reason}"
        ) from error
