"""One question to an OpenAI-compatible chat endpoint, with patience: retries, back-off, and errors that say whose fault it is."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import ModelError, SampleError

BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
OURS = {401: "the key was not accepted", 403: "the key may not use it", 404: "there is no such path or model"}
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class ChatClient:
    """base_url: up to and with ``/v1``. key_env: the environment variable that holds the key; without it none is sent.

    retries: after the first try, waiting backoff_s, then twice as long each time, or as long as the server asks for.
    """

    base_url: str
    key_env: str
    timeout_s: float
    retries: int
    backoff_s: float
    sleep: Callable[[float], None] = time.sleep

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """The endpoint's JSON answer. Raises ModelError for a wrong address or key, SampleError for one refused request or
        when it stays busy.
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
                    wait = _asked_for(error.headers.get("Retry-After"), wait)
            except (OSError, ValueError) as error:  # no connection, a timeout, half an answer
                problem = str(error)
            if turn < self.retries:
                self.sleep(wait)
        raise SampleError("caption_unreachable", f"{self.base_url}: {problem}, after {self.retries + 1} tries")

    def _refuse_ours(self, error: urllib.error.HTTPError, problem: str) -> None:
        """Raise for what asking again will not change."""
        if error.code in OURS:
            raise ModelError(f"{self.base_url}: {problem}: {OURS[error.code]} (key from {self._key_name})") from error
        if error.code not in BUSY:
            told = " ".join(error.read(500).decode("utf-8", "replace").split())
            raise SampleError("caption_refused", f"the endpoint refused: {problem}: {told}") from error

    def _once(self, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_env, "") if self.key_env else ""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
            told: dict[str, Any] = json.loads(answer.read())
        return told

    @property
    def _key_name(self) -> str:
        if not self.key_env:
            return "nowhere: models.captioner.key_env is empty"
        return self.key_env if os.environ.get(self.key_env) else f"{self.key_env}, which is not set"


def _asked_for(header: str | None, otherwise: float) -> float:
    try:
        return min(LONGEST_WAIT_S, max(0.0, float(header or "")))
    except ValueError:  # a date, or nothing
        return otherwise
