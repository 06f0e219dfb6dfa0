"""The registry of models: which backends may play each role. A backend's settings class says its ``kind`` and builds it.

Adding one: its file, its test, and its settings class in the union of its role here (CONTRIBUTING has a worked example).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.settings import Settings
from stages.backends.chat_captioner import ChatCaptionerSettings
from stages.backends.composition_scorer import CompositionScorerSettings
from stages.backends.diffusers_outpainter import ControlNetSettings, FluxFillSettings, InpaintSettings
from stages.backends.hub_captioner import HubCaptionerSettings
from stages.backends.lite0_encoder import Lite0Settings
from stages.backends.patch_outpainter import PatchDiffusionSettings
from stages.backends.protocols import Captioner, Composer, Encoder, Outpainter, Scorer, Segmenter
from stages.backends.small_outpainter import SmallDiffusionSettings
from stages.backends.template_captioner import CaptionSettings
from stages.backends.u2net import U2NetSettings

BY_KIND = Field(discriminator="kind")


class ModelSettings(Settings):
    """Which model plays each role: its ``kind``, by default the first of the role's, and the settings of that kind."""

    captioner: Annotated[CaptionSettings | HubCaptionerSettings | ChatCaptionerSettings, BY_KIND] = CaptionSettings()
    outpainter: Annotated[
        PatchDiffusionSettings | InpaintSettings | FluxFillSettings | ControlNetSettings | SmallDiffusionSettings,
        BY_KIND,
    ] = PatchDiffusionSettings()
    segmenter: U2NetSettings = U2NetSettings()
    scorer: CompositionScorerSettings = CompositionScorerSettings()
    encoder: Lite0Settings = Lite0Settings()

    @model_validator(mode="before")
    @classmethod
    def _name_kinds(cls, given: Any) -> Any:
        """A role's settings without a ``kind`` are those of its default; YAML reads a bare ``off`` as false."""
        if not isinstance(given, Mapping):
            return given
        named = dict(given)
        for role, field in cls.model_fields.items():
            chosen = named.get(role)
            if isinstance(chosen, Mapping):
                kind = chosen.get("kind", field.default.kind)
                named[role] = {**chosen, "kind": "off" if kind is False else kind}
        return named


@dataclass(frozen=True)
class Models:
    """One object a role, shared by all stages that use it."""

    captioner: Captioner
    outpainter: Outpainter
    segmenter: Segmenter
    scorer: Scorer
    encoder: Encoder
    composer: Composer | None = None


def models_of(settings: ModelSettings) -> Models:
    """The models that a recipe names; no weights are loaded yet."""
    return Models(
        captioner=settings.captioner.build(),
        outpainter=settings.outpainter.build(),
        segmenter=settings.segmenter.build(),
        scorer=settings.scorer.build(),
        encoder=settings.encoder.build(),
    )
