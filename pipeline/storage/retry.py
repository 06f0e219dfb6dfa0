"""Which errors of a remote store are transient, how often and when to retry, and how to remove secrets from messages.

Errors are recognised by errno, HTTP status, error code and class name, so that no client library is imported here.
"""

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

# What of an error makes it transient.
_ERRNOS = {errno.EBUSY, errno.EREMOTEIO, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EAGAIN}
_STATUSES = {408, 425, 429, 500, 502, 503, 504, 509}
_CODES = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "ServiceUnavailable",
    "ConditionalRequestConflict", "OperationAborted", "RetriableException", "StandbyException", "SafeModeException",
}  # fmt: skip
# Base classes of what botocore, aiohttp, requests, urllib3 and google's clients raise when a connection breaks or stalls.
_CLASSES = {
    "HTTPClientError", "ClientPayloadError", "ClientConnectionError", "ResponseParserError", "IncompleteRead",
    "ChunkedEncodingError", "ProtocolError", "TransportError", "ConnectionError", "FSTimeoutError", "Timeout",
}  # fmt: skip
_PERMANENT_STATUSES = {401, 403, 404, 405, 409, 410, 412}


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    Args:
        attempts: at one operation, the first included.
        first_wait_s: seconds before the second attempt; each later wait is twice the one before.
        max_wait_s: upper bound of a wait, in seconds.
    """

    attempts: int = 6
    first_wait_s: float = 0.2
    max_wait_s: float = 10.0

    def waits(self) -> Iterator[float]:
        """Seconds before each further attempt; the jitter keeps many workers from retrying at the same moment."""
        for number in range(self.attempts - 1):
            yield min(self.max_wait_s, self.first_wait_s * 2**number) * random.uniform(0.5, 1)


RETRY_POLICY = RetryPolicy()


def with_retries(
    call: Callable[[], Result],
    policy: RetryPolicy | None = None,
    also_transient: Callable[[Exception], bool] = lambda error: False,
) -> Result:
    """The result of ``call``, retried while its error is transient or ``also_transient`` says so; raises the last error."""
    for wait in (policy or RETRY_POLICY).waits():
        try:
            return call()
        except Exception as error:
            if not (is_transient(error) or also_transient(error)):
                raise
        time.sleep(wait)
    return call()


def cause_chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: 5xx, throttling, a broken or stalled connection; never 403 or 404."""
    return any(_is_transient(one) for one in cause_chain(error))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError):
        return False
    status = http_status(error)
    if error_code(error) in _CODES or status in _STATUSES:
        return True
    if status in _PERMANENT_STATUSES:
        return False
    if isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in _ERRNOS):
        return True
    return bool(_CLASSES & {base.__name__ for base in type(error).__mro__})


def http_status(error: BaseException) -> int:
    """The HTTP status that an error carries, or 0."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    for status in (getattr(response, "status_code", 0), getattr(error, "status", 0), getattr(error, "code", 0)):
        if isinstance(status, int) and status:
            return status
    return 0


def error_code(error: BaseException) -> str:
    """The store's own error code (``NoSuchBucket``), or an empty string."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else getattr(error, "word", "")
    return str(code)


# Credentials travel in addresses: signed URLs, delegation tokens, user:password@host.
_IN_QUERIES = re.compile(
    r"(?i)([?&](?:x-(?:amz|goog)-[a-z-]+|sig|signature|awsaccesskeyid|delegation|token|password|key)=)[^&\s'\"]+"
)
_IN_HOSTS = re.compile(r"(://[^/\s:@'\"]*):[^/\s@'\"]+@")
_NAMES = re.compile(r"(?i)secret|password|token|credential|access_key|account_key|connection_string|sas")


def redacted(text: object) -> str:
    """``str(text)`` on one line without secrets: values of secret environment variables, signatures, tokens, passwords."""
    line = " ".join(str(text).split())
    for name, value in os.environ.items():
        if (
            len(value) >= 6 and _NAMES.search(name) and not os.path.exists(value)
        ):  # the path of a key file is not secret
            line = line.replace(value, "***")
    return _IN_HOSTS.sub(r"\1:***@", _IN_QUERIES.sub(r"\1***", line))
