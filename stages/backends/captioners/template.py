"""Captions without a model: a template filled with the photo's title, or no text (``kind: off``)."""

from collections.abc import Sequence
from typing import Literal

from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.protocols import Image, Prompts


class CaptionSettings(BackendSettings):
    """Prompts from a template. ``{title}`` in it is the photo's title.

    Args:
        kind: ``off`` leaves all prompts empty.
        inside: template of the prompt for the photo.
        beyond: template of the prompt for its surroundings.
        negative: prompt of what the surroundings must not show.
        untitled: the title of a photo without one.
    """

    kind: Literal["off", "template"] = "template"
    inside: str = "{title}, professional photograph"
    beyond: str = "the surroundings of {title}, same light, same style, natural continuation"
    negative: str = "collage, frame, border, picture in picture, text, watermark, blurry"
    untitled: str = "the scene"

    def build(self) -> "TemplateCaptioner":
        """The backend."""
        return TemplateCaptioner(self)


class TemplateCaptioner:
    """Implements ``Captioner``."""

    licence = "MIT (no weights)"

    def __init__(self, settings: CaptionSettings) -> None:
        self._settings = settings
        self.name: str = settings.kind

    @property
    def digest(self) -> str:
        """Of the settings."""
        return digest_of(self._settings.model_dump())[:16]

    def caption(self, images: Sequence[Image], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image."""
        if self._settings.kind == "off":
            return [Prompts("", "", "") for _ in images]
        s = self._settings
        names = [title or s.untitled for title in titles]
        return [Prompts(s.inside.replace("{title}", n), s.beyond.replace("{title}", n), s.negative) for n in names]
