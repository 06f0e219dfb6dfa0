"""Captions from any OpenAI-compatible chat endpoint that takes pictures, on this machine or elsewhere."""

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from PIL import Image as Pillow
from pydantic import Field, field_validator

from pipeline.core.errors import ModelError, SampleError
from pipeline.core.json_types import Json, JsonObject
from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.protocols import Image, Prompts
from stages.backends.captioners.chat_client import ChatClient, ChatResponse, TokenUsage
from stages.backends.captioners.response_cache import ResponseCache

CODE_VERSION = 1  # raised whenever the same photo and settings give another request
QUESTION = (
    "This is a photograph that will be placed on a larger canvas, whose surroundings an image model will paint. Answer with "
    'one JSON object with three strings: "inside": one sentence that describes the photograph, as a prompt; "beyond": one '
    "sentence that describes what plausibly lies around it, beyond its frame, without repeating its main subject, with the "
    'same place, light and style; "negative": a few words, comma-separated, that the surroundings must not show, collage, '
    "frame, border and text among them."
)


class ChatCaptionerSettings(BackendSettings):
    """A captioner behind an OpenAI-compatible chat endpoint.

    Args:
        base_url: up to and with ``/v1``.
        model: the endpoint's name of the model.
        key_env: environment variable with the key, which is never written anywhere.
        licence: of the captions, as the dataset's card states it.
        question: sent with each photo; ``{title}`` is its title. The response must be JSON with inside, beyond and negative.
        side: pictures are sent with this long side at most, pixels.
        max_tokens: of a response.
        concurrency: requests in flight, a worker.
        timeout_s: seconds for one request.
        retries: of a request, after the first try.
        backoff_s: seconds before the first retry, doubled for each further one.
        cache: folder of responses by content; empty for the user's cache folder.
        price_in: money for a million tokens sent.
        price_out: money for a million tokens received.
        budget: in the same money, over all responses in the cache; 0 for no limit.
    """

    kind: Literal["chat"]
    base_url: str
    model: str = Field(min_length=1)
    key_env: str = "OPENAI_API_KEY"
    licence: str = "the provider's terms"
    question: str = QUESTION
    side: int = Field(768, ge=64, le=4096)
    max_tokens: int = Field(300, ge=16, le=4096)
    concurrency: int = Field(8, ge=1, le=256)
    timeout_s: float = Field(60, gt=0)
    retries: int = Field(6, ge=0, le=20)
    backoff_s: float = Field(1.0, ge=0)
    cache: str = ""
    price_in: float = Field(0.0, ge=0)
    price_out: float = Field(0.0, ge=0)
    budget: float = Field(0.0, ge=0)

    @field_validator("base_url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^@?#\s]+", url):
            raise ValueError("want http(s)://host/v1 without user, password or query: the key comes from key_env alone")
        return url

    def build(self) -> "ChatCaptioner":
        """The backend; nothing is sent yet."""
        return ChatCaptioner(self)


class ChatCaptioner:
    """Implements ``Captioner``. A server's responses may change from day to day; the cache keeps the first one."""

    def __init__(self, settings: ChatCaptionerSettings) -> None:
        if settings.budget and not settings.price_in + settings.price_out:
            raise ModelError("models.captioner.budget needs price_in and price_out: without them every request costs 0")
        self._settings = settings
        self.name = f"chat:{settings.model}"
        self.licence = settings.licence
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = (
            Path(settings.cache).expanduser() if settings.cache else Path(home).expanduser() / "procrop" / "captions"
        )
        self._cache = ResponseCache(folder, settings.budget)
        self._client = ChatClient(
            settings.base_url, settings.key_env, settings.timeout_s, settings.retries, settings.backoff_s
        )

    @property
    def digest(self) -> str:
        """Of the model's name and the request; the weights themselves cannot be read."""
        return digest_of({"code": CODE_VERSION, **self._identity()})[:16]

    def _identity(self) -> dict[str, Json]:
        return self._settings.model_dump(include={"model", "question", "side", "max_tokens"})

    def caption(self, images: Sequence[Image], titles: Sequence[str]) -> list[Prompts]:
        """Prompts, one an image. Raises RefusedError when the budget is used up, ModelError for a wrong address or key."""
        if not images:
            return []
        with ThreadPoolExecutor(min(self._settings.concurrency, len(images))) as pool:
            waiting = [pool.submit(self._one, *pair) for pair in zip(images, titles, strict=True)]
        return [each.result() for each in waiting]

    def _one(self, image: Image, title: str) -> Prompts:
        picture = self._encoded(image)
        key = digest_of([self._identity(), self._settings.base_url, title, hashlib.sha256(picture).hexdigest()])
        prompts = self._cache.get(key)
        if prompts is None:
            self._cache.check_budget()
            response = self._client.ask(self._body(picture, title))
            prompts = _prompts_of(response)
            self._cache.put(key, prompts, self._cost(response))
        return Prompts(prompts["inside"], prompts["beyond"], prompts["negative"])

    def _encoded(self, image: Image) -> bytes:
        small = Pillow.fromarray(image)
        small.thumbnail((self._settings.side, self._settings.side), Pillow.Resampling.LANCZOS)
        sink = io.BytesIO()
        small.save(sink, "JPEG", quality=90)
        return sink.getvalue()

    def _body(self, picture: bytes, title: str) -> JsonObject:
        url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        question = self._settings.question.replace("{title}", title)
        content: list[JsonObject] = [
            {"type": "text", "text": question},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._settings.max_tokens,
            "temperature": 0,
            "response_format": {"type": "json_object"},
        }

    def _cost(self, response: ChatResponse) -> float:
        s, usage = self._settings, response.get("usage") or TokenUsage()
        if s.budget and not usage:
            raise ModelError(
                f"{s.base_url} does not say how many tokens it used: models.captioner.budget cannot be kept"
            )
        spent = usage.get("prompt_tokens", 0) * s.price_in + usage.get("completion_tokens", 0) * s.price_out
        return float(spent) / 1e6


def _prompts_of(response: ChatResponse) -> dict[str, str]:
    """The three prompts of a response; SampleError when it does not hold them."""
    try:
        text = str(response["choices"][0]["message"]["content"])
        body = json.loads(text[text.index("{") : text.rindex("}") + 1])  # some put a fence around it
        prompts = {name: " ".join(str(body[name]).split()) for name in ("inside", "beyond", "negative")}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SampleError(
            "bad_caption", f"the endpoint's answer is not the JSON that the question asks for: {error!r}"
        ) from error
    if not prompts["inside"] or not prompts["beyond"]:
        raise SampleError("bad_caption", "the endpoint answered with an empty prompt")
    return prompts
