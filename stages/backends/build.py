"""The registry of models: the only place that knows which names a recipe may use and how each is built.

Adding one: its settings class in the union of its role, its constructor in ``models_of``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.settings import Settings
from stages.backends.composition_scorer import CompositionScorer
from stages.backends.lite0_encoder import Lite0Backend
from stages.backends.patch_outpainter import PatchOutpainter
from stages.backends.protocols import Captioner, Encoder, Outpainter, Scorer, Segmenter
from stages.backends.template_captioner import CaptionSettings, TemplateCaptioner
from stages.backends.u2net import U2NetSegmenter


class PatchDiffusionSettings(Settings):
    """Exact patch diffusion: no weights, no training, any photo. steps: of the scheduler at each scale."""

    kind: Literal["patch-diffusion"] = "patch-diffusion"
    steps: int = Field(6, ge=1, le=200)
    max_side: int = Field(512, ge=16)


class CompositionScorerSettings(Settings):
    """The embedded scorer; folder: another one that ``procrop-data train-scorer`` wrote, empty for the bundled weights."""

    kind: Literal["composition"] = "composition"
    folder: str = ""


class U2NetSettings(Settings):
    """U2-NetP through onnxruntime."""

    kind: Literal["u2netp"] = "u2netp"


class Lite0Settings(Settings):
    """EfficientNet-Lite0; size: of the square input in pixels."""

    kind: Literal["lite0"] = "lite0"
    size: int = Field(224, ge=64, le=1024, multiple_of=32)


class ModelSettings(Settings):
    """Which model plays each role."""

    captioner: CaptionSettings = CaptionSettings()
    outpainter: PatchDiffusionSettings = PatchDiffusionSettings()
    segmenter: U2NetSettings = U2NetSettings()
    scorer: CompositionScorerSettings = CompositionScorerSettings()
    encoder: Lite0Settings = Lite0Settings()


@dataclass(frozen=True)
class Models:
    """One object a role, shared by all stages that use it."""

    captioner: Captioner
    outpainter: Outpainter
    segmenter: Segmenter
    scorer: Scorer
    encoder: Encoder


def models_of(settings: ModelSettings) -> Models:
    """The models that a recipe names; no weights are loaded yet."""
    painter = settings.outpainter
    return Models(
        captioner=TemplateCaptioner(settings.captioner),
        outpainter=PatchOutpainter(steps=painter.steps, max_side=painter.max_side),
        segmenter=U2NetSegmenter(),
        # It brings its own segmenter: its head was trained on those masks, whatever the recipe's segmenter is.
        scorer=CompositionScorer(Path(settings.scorer.folder) if settings.scorer.folder else None),
        encoder=Lite0Backend(settings.encoder.size),
    )
