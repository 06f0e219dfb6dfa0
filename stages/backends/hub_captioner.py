"""Captioners from public checkpoints through transformers: BLIP, BLIP-2 and Florence-2."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.seeds import digest_of
from pipeline.settings import Settings
from stages.backends.checkpoint import locate, weights_digest
from stages.backends.lazy import engine
from stages.backends.protocols import Image, Prompts

CODE_VERSION = 1
# kind -> published checkpoint, licence, what it is asked for the picture.
PUBLISHED = {
    "blip": ("Salesforce/blip-image-captioning-large", "BSD-3-Clause", ""),
    "blip2": ("Salesforce/blip2-opt-6.7b", "MIT; its OPT language model: OPT-175B licence (no commercial use)", ""),
    "florence": ("florence-community/Florence-2-large", "MIT", "<DETAILED_CAPTION>"),
}


class HubCaptionerSettings(Settings):
    """ask: what the model is given beside the picture (BLIP: how the sentence begins; BLIP-2: a question; Florence: a task).

    ask_beyond: a second question, about what lies beyond the frame; empty to use the first answer there, too. In the
    templates ``{caption}`` is the answer and ``{title}`` the photo's title. Decoding is greedy or by beams: no chance in it.
    """

    kind: Literal["blip", "blip2", "florence"]
    model: str
    revision: str = ""
    licence: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float16"
    device: str = "auto"
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


class HubCaptioner:
    """Implements ``Captioner``. Pictures are captioned ``batch`` at a time, which may move a word where two are near equal."""

    def __init__(self, settings: HubCaptionerSettings) -> None:
        self._settings = settings
        self.name: str = settings.kind
        self.licence = settings.licence
        self._engine: Any = None
        self._digest = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    @property
    def digest(self) -> str:
        """Of the weights' files, all settings but the device, and the code version; ModelError when the checkpoint is missing."""
        if not self._digest:
            s = self._settings
            told = s.model_dump(mode="json", exclude={"device", "model", "licence"})
            weights = weights_digest(locate(s.model, s.revision))
            self._digest = digest_of({"code": CODE_VERSION, "settings": told, "weights": weights})[:16]
        return self._digest

    def caption(self, images: Sequence[Image], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image; ModelError when the checkpoint does not load."""
        if self._engine is None:
            self._engine = engine("stages.backends.caption_engine:CaptionEngine")(self._settings)
        s = self._settings
        answers = self._engine.answers(images, s.ask)
        beyond = self._engine.answers(images, s.ask_beyond) if s.ask_beyond else answers
        return [
            Prompts(filled(s.inside, caption, title), filled(s.beyond, other, title), s.negative)
            for caption, other, title in zip(answers, beyond, titles, strict=True)
        ]


def filled(template: str, caption: str, title: str) -> str:
    """A template with the model's answer and the photo's title in it; either may hold braces of its own."""
    parts = template.split("{caption}")
    return caption.join(part.replace("{title}", title) for part in parts)
