"""Captioners from public checkpoints through transformers: BLIP, BLIP-2 and Florence-2."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.lazy_import import LazyImport
from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.protocols import Image, Prompts

if TYPE_CHECKING:
    from stages.backends.captioners.hub_engine import CaptionEngine

ENGINE: "LazyImport[type[CaptionEngine]]" = LazyImport("stages.backends.captioners.hub_engine:CaptionEngine")

# kind -> published checkpoint, licence, text given with the picture.
PUBLISHED = {
    "blip": ("Salesforce/blip-image-captioning-large", "BSD-3-Clause", ""),
    "blip2": ("Salesforce/blip2-opt-6.7b", "MIT; its OPT language model: OPT-175B licence (no commercial use)", ""),
    "florence": ("florence-community/Florence-2-large", "MIT", "<DETAILED_CAPTION>"),
}


class HubCaptionerSettings(CheckpointSettings):
    """A captioning checkpoint. Left out, model, licence and ask are the published ones of the kind.

    In the templates ``{caption}`` is the model's text and ``{title}`` the photo's title. Decoding is greedy or by beams, so
    it draws no random numbers.

    Args:
        dtype: of the weights and activations.
        batch: pictures captioned together.
        ask: text given with the picture (BLIP: the sentence's beginning; BLIP-2: a question; Florence: a task token).
        ask_beyond: text of a second pass, about what lies beyond the frame; empty to use the first caption there, too.
        num_beams: of the beam search; 1 is greedy.
        max_new_tokens: of a caption.
        inside: template of the prompt for the photo.
        beyond: template of the prompt for its surroundings.
        negative: prompt of what the surroundings must not show.
    """

    kind: Literal["blip", "blip2", "florence"]
    model: str
    revision: str = ""
    licence: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float16"
    batch: int = Field(8, ge=1)
    ask: str
    ask_beyond: str = ""
    num_beams: int = Field(3, ge=1, le=32)
    max_new_tokens: int = Field(48, ge=1, le=1024)
    inside: str = "{caption}, professional photograph"
    beyond: str = "the surroundings of {caption}, same light, same style, natural continuation"
    negative: str = "collage, frame, border, picture in picture, text, watermark, blurry"

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        published = PUBLISHED.get(str(given.get("kind"))) if isinstance(given, dict) else None
        return (
            given if published is None else {**dict(zip(("model", "licence", "ask"), published, strict=True)), **given}
        )

    def build(self) -> "HubCaptioner":
        """The backend; nothing is loaded yet."""
        return HubCaptioner(self)


class HubCaptioner(FromCheckpoint[HubCaptionerSettings, "CaptionEngine"]):
    """Implements ``Captioner``. Pictures are captioned ``batch`` at a time, which may move a word where two are near equal."""

    def __init__(self, settings: HubCaptionerSettings) -> None:
        super().__init__(settings.kind, settings, ENGINE)

    def caption(self, images: Sequence[Image], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image; ModelError when the checkpoint does not load."""
        s = self._settings
        captions = self._loaded().captions(images, s.ask)
        beyond = self._loaded().captions(images, s.ask_beyond) if s.ask_beyond else captions
        return [
            Prompts(filled(s.inside, caption, title), filled(s.beyond, other, title), s.negative)
            for caption, other, title in zip(captions, beyond, titles, strict=True)
        ]


def filled(template: str, caption: str, title: str) -> str:
    """A template with caption and title filled in; either may itself contain ``{title}`` or ``{caption}``."""
    parts = template.split("{caption}")
    return caption.join(part.replace("{title}", title) for part in parts)
