"""The registry of models: which backends may play each role. A backend's settings class has its ``kind`` and builds it.

Adding one: its file, its test, and its settings class in the union of its role here (CONTRIBUTING has a worked example).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, model_validator

from pipeline.core.settings import Settings
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.plugin_models import PluginModel, PluginSettings, pluggable
from stages.backends.base.protocols import (
    Captioner,
    Composer,
    Encoder,
    FaceFinder,
    Model,
    Outpainter,
    Scorer,
    Segmenter,
)
from stages.backends.captioners.chat import ChatCaptionerSettings
from stages.backends.captioners.hub import HubCaptionerSettings
from stages.backends.captioners.template import CaptionSettings
from stages.backends.encoders.hub import HubEncoderSettings
from stages.backends.encoders.lite0 import Lite0Settings
from stages.backends.outpainters.diffusion.backend import (
    AutoInpaintSettings,
    ControlNetSettings,
    FluxFillSettings,
    InpaintSettings,
    SdxlControlNetSettings,
    ZImageSettings,
)
from stages.backends.outpainters.patch_diffusion.backend import PatchDiffusionSettings
from stages.backends.outpainters.small_diffusion.backend import SmallDiffusionSettings
from stages.backends.scorers.aesthetic import AestheticSettings
from stages.backends.scorers.composition import CompositionScorerSettings
from stages.backends.scorers.ensemble import EnsembleSettings
from stages.backends.vision.faces import BlazeFaceSettings, NoFacesSettings
from stages.backends.vision.sam import SamComposerSettings, SamEncoderSettings, SamSegmenterSettings
from stages.backends.vision.u2net import U2NetSettings

BY_KIND = Field(discriminator="kind")


class NoComposerSettings(BackendSettings):
    """No composer: only a ControlNet needs regions."""

    kind: Literal["none"] = "none"

    def build(self) -> None:
        """Nothing."""


class ModelSettings(Settings):
    """Which model plays each role: its ``kind``, by default the first of the role's, and the settings of that kind."""

    captioner: Annotated[
        SerializeAsAny[CaptionSettings | HubCaptionerSettings | ChatCaptionerSettings], BY_KIND, pluggable("captioner")
    ] = CaptionSettings()
    outpainter: Annotated[
        SerializeAsAny[
            PatchDiffusionSettings
            | InpaintSettings
            | FluxFillSettings
            | ZImageSettings
            | ControlNetSettings
            | SdxlControlNetSettings
            | AutoInpaintSettings
            | SmallDiffusionSettings
        ],
        BY_KIND,
        pluggable("outpainter"),
    ] = PatchDiffusionSettings()
    segmenter: Annotated[SerializeAsAny[U2NetSettings | SamSegmenterSettings], BY_KIND, pluggable("segmenter")] = (
        U2NetSettings()
    )
    scorer: Annotated[
        SerializeAsAny[CompositionScorerSettings | AestheticSettings | EnsembleSettings], BY_KIND, pluggable("scorer")
    ] = CompositionScorerSettings()
    encoder: Annotated[
        SerializeAsAny[Lite0Settings | SamEncoderSettings | HubEncoderSettings], BY_KIND, pluggable("encoder")
    ] = Lite0Settings()
    composer: Annotated[SerializeAsAny[NoComposerSettings | SamComposerSettings], BY_KIND, pluggable("composer")] = (
        NoComposerSettings()
    )
    faces: Annotated[SerializeAsAny[BlazeFaceSettings | NoFacesSettings], BY_KIND, pluggable("faces")] = (
        BlazeFaceSettings()
    )

    def of_role(self, role: str) -> BackendSettings:
        """Settings of the model that plays a role; KeyError for a role that does not exist."""
        settings = dict(self)[role]
        assert isinstance(settings, BackendSettings)
        return settings

    @property
    def plugins(self) -> dict[str, PluginSettings]:
        """Role -> settings of the models that come from other packages."""
        return {role: chosen for role, chosen in dict(self).items() if isinstance(chosen, PluginSettings)}

    @property
    def gpu_roles(self) -> frozenset[str]:
        """Roles whose model computes on a GPU where the machine has one."""
        return frozenset(role for role in type(self).model_fields if self.of_role(role).uses_gpu)

    @model_validator(mode="before")
    @classmethod
    def _name_kinds(cls, given: object) -> object:
        """A word is short for its ``kind``; settings without one are those of the default; YAML reads a bare ``off`` as false."""
        if not isinstance(given, Mapping):
            return given
        named = dict(given)
        for role, field in cls.model_fields.items():
            chosen = named.get(role)
            if isinstance(chosen, str) or chosen is False:
                chosen = {"kind": chosen}
            if isinstance(chosen, Mapping):
                kind = chosen.get("kind", field.default.kind)
                named[role] = {**chosen, "kind": "off" if kind is False else kind}
        return named

    @model_validator(mode="after")
    def _has_regions(self) -> "ModelSettings":
        if isinstance(self.outpainter, ControlNetSettings) and isinstance(self.composer, NoComposerSettings):
            raise ValueError(
                f"outpainter '{self.outpainter.kind}' is steered by regions: name a composer, for example sam"
            )
        return self


@dataclass(frozen=True)
class Models:
    """One object a role, shared by all stages that use it."""

    captioner: Captioner
    outpainter: Outpainter
    segmenter: Segmenter
    scorer: Scorer
    encoder: Encoder
    composer: Composer | None = None
    faces: FaceFinder | None = None

    def credits(self) -> list[tuple[str, str, str]]:
        """(role, name, licence) of each model, for the dataset's card."""
        built = {field.name: getattr(self, field.name) for field in fields(self)}
        return [(role, _name(model), model.licence) for role, model in built.items() if model is not None]


def _name(model: Model) -> str:
    return f"{model.name} (plug-in {model.code.label})" if isinstance(model, PluginModel) else model.name


def models_of(settings: ModelSettings) -> Models:
    """The models that a recipe names; nothing is loaded yet."""
    return Models(
        captioner=settings.captioner.build(),
        outpainter=settings.outpainter.build(),
        segmenter=settings.segmenter.build(),
        scorer=settings.scorer.build(),
        encoder=settings.encoder.build(),
        composer=settings.composer.build(),
        faces=settings.faces.build(),
    )
