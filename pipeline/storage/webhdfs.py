"""fsspec's WebHDFS client with timeouts, and with an exception for every HTTP status of 400 or more.

Without this change it waits without limit, and gives a data node's error page as if it were the file.
"""

import json
from typing import TYPE_CHECKING, TypeAlias

from pipeline.storage.retry import redacted

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from requests import PreparedRequest, Response

    Timeout: TypeAlias = float | tuple[float | None, float | None] | None

CONNECT_S, ANSWER_S = 10.0, 60.0  # a name node that is there connects within milliseconds; a busy one may answer late


def make_strict(fs: "AbstractFileSystem") -> None:
    """Add the timeouts and checks to a client. Errors are FileNotFoundError, FileExistsError, PermissionError or ``Refusal``."""
    from requests.adapters import HTTPAdapter

    class Strict(HTTPAdapter):
        def send(
            self, request: "PreparedRequest", stream: bool = False, timeout: "Timeout" = None, verify: bool | str = True,
            cert: str | tuple[str, str] | None = None, proxies: dict[str, str] | None = None,
        ) -> "Response":  # fmt: skip
            response = super().send(request, stream, timeout or (CONNECT_S, ANSWER_S), verify, cert, proxies)
            if response.status_code >= 400:
                raise refusal(response.status_code, response.content)
            return response

    for scheme in ("http://", "https://"):
        fs.session.mount(scheme, Strict())


class Refusal(OSError):
    """A response with a status of 400 or more.

    Args:
        message: what the server says, without secrets.
        status: HTTP status.
        word: class name of the exception on the server; empty when the response names none.
    """

    def __init__(self, message: str, status: int, word: str) -> None:
        super().__init__(message)
        self.status, self.word = status, word


def refusal(status: int, body: bytes) -> OSError:
    """The exception for a WebHDFS response with a status of 400 or more."""
    try:
        exception = json.loads(body)["RemoteException"]
        word, message = str(exception["exception"]), redacted(exception["message"])
    except (ValueError, KeyError, TypeError):
        word, message = "", f"HTTP status {status}"
    if word == "FileNotFoundException" or (status == 404 and not word):
        return FileNotFoundError(message)
    if word == "FileAlreadyExistsException":
        return FileExistsError(message)
    if word in ("AccessControlException", "SecurityException", "InvalidToken") or (status in (401, 403) and not word):
        return PermissionError(message)
    return Refusal(message, status, word)
