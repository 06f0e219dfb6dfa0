"""A client of OpenAI-compatible chat endpoints: retries with back-off, and errors that name the setting to change."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from pipeline.core.errors import ModelError, SampleError
from pipeline.core.json_types import JsonObject

# Statuses that a retry may change: timeouts, rate limits and server errors (529: overloaded, as some providers have it).
BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# Statuses that come from the settings.
OURS = {401: "the key was not accepted", 403: "the key may not use it", 404: "there is no such path or model"}
LONGEST_WAIT_S = 60.0  # before one retry, also where the server asks for more
MOST_BYTES = 8 << 20  # of a response


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the key would be sent to wherever it leads."""

    def redirect_request(self, *args: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


class ChatMessage(TypedDict):
    """A model's reply."""

    content: str


class ChatChoice(TypedDict):
    """One of the replies that a request may ask for."""

    message: ChatMessage


class TokenUsage(TypedDict, total=False):
    """Tokens of a request and of its response, as the endpoint counts them."""

    prompt_tokens: int
    completion_tokens: int


class ChatResponse(TypedDict, total=False):
    """The parts of a chat completion that are read here; what a server sends need not keep to it."""

    choices: list[ChatChoice]
    usage: TokenUsage


@dataclass(frozen=True)
class ChatClient:
    """A client of one endpoint.

    Args:
        base_url: up to and with ``/v1``.
        key_env: the environment variable that holds the key; without it none is sent.
        timeout_s: seconds for one request.
        retries: after the first try.
        backoff_s: seconds before the first retry, doubled for each further one, unless the server sends ``Retry-After``.
        sleep: what waits; a test hands in its own.
    """

    base_url: str
    key_env: str
    timeout_s: float
    retries: int
    backoff_s: float
    sleep: Callable[[float], None] = time.sleep

    def ask(self, body: JsonObject) -> ChatResponse:
        """The endpoint's JSON response. Raises ModelError for a wrong address or key, SampleError for a refused request or an
        endpoint that stays busy.
        """
        problem = ""
        for turn in range(self.retries + 1):
            wait = min(LONGEST_WAIT_S, self.backoff_s * 2**turn)
            try:
                return self._once(body)
            except urllib.error.HTTPError as error:
                with error:  # it holds the connection
                    problem = f"{error.code} {error.reason}"
                    self._refuse_ours(error, problem)
                    wait = _retry_after(error.headers.get("Retry-After"), wait)
            except (OSError, ValueError) as error:  # no connection, a timeout, half a response
                problem = str(error)
            if turn < self.retries:
                self.sleep(wait)
        raise SampleError("caption_unreachable", f"{self.base_url}: {problem}, after {self.retries + 1} tries")

    def _refuse_ours(self, error: urllib.error.HTTPError, problem: str) -> None:
        """Raise for statuses that a retry will not change."""
        if error.code in OURS:
            raise ModelError(f"{self.base_url}: {problem}: {OURS[error.code]} (key from {self._key_name})") from error
        if error.code not in BUSY:
            body = " ".join(error.read(500).decode("utf-8", "replace").split())
            raise SampleError("caption_refused", f"the endpoint refused: {problem}: {body}") from error

    def _once(self, body: JsonObject) -> ChatResponse:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_env, "") if self.key_env else ""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with _OPENER.open(request, timeout=self.timeout_s) as response:
            data = response.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"an answer of more than {MOST_BYTES} bytes")
        received: ChatResponse = json.loads(data)
        return received

    @property
    def _key_name(self) -> str:
        if not self.key_env:
            return "nowhere: models.captioner.key_env is empty"
        return self.key_env if os.environ.get(self.key_env) else f"{self.key_env}, which is not set"


def _retry_after(header: str | None, otherwise: float) -> float:
    try:
        return min(LONGEST_WAIT_S, max(0.0, float(header or "")))
    except ValueError:  # a date, or nothing
        return otherwise
