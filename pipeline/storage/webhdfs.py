"""fsspec's WebHDFS client with time limits, and with an error for every answer that is one.

By itself it waits for ever, and hands on a data node's error page as if it were the file.
"""

import json
from typing import Any

from pipeline.storage.retry import redacted

CONNECT_S, ANSWER_S = 10.0, 60.0


def make_strict(fs: Any) -> None:
    """Change a client so. Errors are FileNotFoundError, FileExistsError, PermissionError or ``Refusal``."""
    from requests.adapters import HTTPAdapter

    class Strict(HTTPAdapter):
        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            options["timeout"] = options.get("timeout") or (CONNECT_S, ANSWER_S)
            answer = super().send(request, **options)
            if answer.status_code >= 400:
                raise refusal(answer.status_code, answer.content)
            return answer

    for scheme in ("http://", "https://"):
        fs.session.mount(scheme, Strict())


class Refusal(OSError):
    """An answer of 400 or more. status: of HTTP; word: the exception's name on the server."""

    def __init__(self, message: str, status: int, word: str) -> None:
        super().__init__(message)
        self.status, self.word = status, word


def refusal(status: int, body: bytes) -> OSError:
    """The error that a WebHDFS answer of 400 or more stands for."""
    try:
        told = json.loads(body)["RemoteException"]
        word, message = str(told["exception"]), redacted(told["message"])
    except (ValueError, KeyError, TypeError):
        word, message = "", f"HTTP status {status}"
    if word == "FileNotFoundException" or (status == 404 and not word):
        return FileNotFoundError(message)
    if word == "FileAlreadyExistsException":
        return FileExistsError(message)
    if word in ("AccessControlException", "SecurityException", "InvalidToken") or (status in (401, 403) and not word):
        return PermissionError(message)
    return Refusal(message, status, word)
