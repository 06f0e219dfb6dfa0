"""What of a remote file system's errors is worth another try, how long to wait for it, and what of their words may be told.

Errors are recognised by what they carry (errno, HTTP status, the class's name), so that no client library is imported here.
"""

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")

_ERRNOS = {errno.EBUSY, errno.EREMOTEIO, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EAGAIN}
_STATUSES = {408, 425, 429, 500, 502, 503, 504, 509}
_WORDS = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "ServiceUnavailable",
    "ConditionalRequestConflict", "OperationAborted", "RetriableException", "StandbyException", "SafeModeException",
}  # fmt: skip
# Base classes of what botocore, aiohttp, requests, urllib3 and google's clients raise when a connection breaks or stalls.
_CLASSES = {
    "HTTPClientError", "ClientPayloadError", "ClientConnectionError", "ResponseParserError", "IncompleteRead",
    "ChunkedEncodingError", "ProtocolError", "TransportError", "ConnectionError", "FSTimeoutError", "Timeout",
}  # fmt: skip
_FOREVER = {401, 403, 404, 405, 409, 410, 412}


@dataclass(frozen=True)
class Patience:
    """tries: of one operation, in all; first: seconds before the second; each wait doubles, up to ``most``, with jitter."""

    tries: int = 6
    first: float = 0.2
    most: float = 10.0

    def waits(self) -> Iterator[float]:
        """Seconds before each further try. Jitter keeps a hundred workers from coming back at the same moment."""
        for number in range(self.tries - 1):
            yield min(self.most, self.first * 2**number) * random.uniform(0.5, 1)


PATIENCE = Patience()


def patiently(
    call: Callable[[], Result],
    patience: Patience | None = None,
    also: Callable[[Exception], bool] = lambda error: False,
) -> Result:
    """What ``call`` gives, tried again while its error is one that time cures (or ``also`` says so); raises the last one."""
    for wait in (patience or PATIENCE).waits():
        try:
            return call()
        except Exception as error:
            if not (is_transient(error) or also(error)):
                raise
        time.sleep(wait)
    return call()


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed in a while: 5xx, throttling, a broken or stalled connection. Never 403 or 404."""
    return any(_is_transient(one) for one in chain_of(error))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError):
        return False
    status = status_of(error)
    if code_of(error) in _WORDS or status in _STATUSES:
        return True
    if status in _FOREVER:
        return False
    if isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in _ERRNOS):
        return True
    return bool(_CLASSES & {base.__name__ for base in type(error).__mro__})


def status_of(error: BaseException) -> int:
    """The HTTP status that an error carries, or 0."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    for found in (getattr(response, "status_code", 0), getattr(error, "status", 0), getattr(error, "code", 0)):
        if isinstance(found, int) and found:
            return found
    return 0


def code_of(error: BaseException) -> str:
    """The word that a store names its refusal by (``NoSuchBucket``), or nothing."""
    response = getattr(error, "response", None)
    word = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else getattr(error, "word", "")
    return str(word)


# Credentials travel in addresses: signed URLs, delegation tokens, user:password@host.
_IN_QUERIES = re.compile(
    r"(?i)([?&](?:x-(?:amz|goog)-[a-z-]+|sig|signature|awsaccesskeyid|delegation|token|password|key)=)[^&\s'\"]+"
)
_IN_HOSTS = re.compile(r"(://[^/\s:@'\"]*):[^/\s@'\"]+@")
_NAMES = re.compile(r"(?i)secret|password|token|credential|access_key|account_key|connection_string|sas")


def redacted(text: Any) -> str:
    """Words on one line, without what is secret: values of such variables of the environment, signatures, passwords."""
    line = " ".join(str(text).split())
    for name, value in os.environ.items():
        if len(value) >= 6 and _NAMES.search(name) and not os.path.exists(value):  # the path of a key file is no secret
            line = line.replace(value, "***")
    return _IN_HOSTS.sub(r"\1:***@", _IN_QUERIES.sub(r"\1***", line))
