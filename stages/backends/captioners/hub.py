"""Captioners from public checkpoints through transformers: BLIP, BLIP-2 and Florence-2."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.protocols import Image, Prompts

# kind -> published checkpoint, licence, what it is asked for the picture.
PUBLISHED = {
    "blip": ("Salesforce/blip-image-captioning-large", "BSD-3-Clause", ""),
    "blip2": ("Salesforce/blip2-opt-6.7b", "MIT; its OPT language model: OPT-175B licence (no commercial use)", ""),
    "florence": ("florence-community/Florence-2-large", "MIT", "<DETAILED_CAPTION>"),
}


class HubCaptionerSettings(CheckpointSettings):
    """ask: what the model is given beside the picture (BLIP: how the sentence begins; BLIP-2: a question; Florence: a task).

    ask_beyond: a second question, about what lies beyond the frame; empty to use the first answer there, too. In the
    templates ``{caption}`` is the answer and ``{title}`` the photo's title. Decoding is greedy or by beams: no chance in it.
    """

    kind: Literal["blip", "blip2", "florence"]
    model: str
    revision: str = ""
    licence: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float16"
    batch: int = Field(8, ge=1)
    ask: str
    ask_beyond: str = ""
    beams: int = Field(3, ge=1, le=32)
    max_tokens: int = Field(48, ge=1, le=1024)
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


class HubCaptioner(FromCheckpoint[HubCaptionerSettings]):
    """Implements ``Captioner``. Pictures are captioned ``batch`` at a time, which may move a word where two are near equal."""

    engine_at = "stages.backends.captioners.hub_engine:CaptionEngine"

    def __init__(self, settings: HubCaptionerSettings) -> None:
        super().__init__(settings.kind, settings)

    def caption(self, images: Sequence[Image], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image; ModelError when the checkpoint does not load."""
        s = self._settings
        answers = self._loaded().answers(images, s.ask)
        beyond = self._loaded().answers(images, s.ask_beyond) if s.ask_beyond else answers
        return [
            Prompts(filled(s.inside, caption, title), filled(s.beyond, other, title), s.negative)
            for caption, other, title in zip(answers, beyond, titles, strict=True)
        ]


def filled(template: str, caption: str, title: str) -> str:
    """A template with the model's answer and the photo's title in it; either may hold braces of its own."""
    parts = template.split("{caption}")
    return caption.join(part.replace("{title}", title) for part in parts)
