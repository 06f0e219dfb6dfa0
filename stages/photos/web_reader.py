"""Reading one web address of a list: checked hosts, and limits on bytes, redirects and time.

The connection goes to the very IP address that was checked, so that a second answer of the name server cannot lead elsewhere.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Timer
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipeline.core.errors import SampleError
from pipeline.storage.retry import redacted
from stages.photos.list_access import REFUSED, WEB, ListAccess, protocol_of_row, resolve

CHUNK = 1 << 16
PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_SAFE = "/%:=&?~+!$,;'@()*[]"  # characters that stay as they are in a path; others are escaped as browsers do


class WebStatusError(OSError):
    """A response with a status of 400 or more. status: HTTP status, by which retries are decided."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def read_web(address: str, access: ListAccess, deadline: float) -> bytes:
    """The body behind an address, over its redirects. deadline: on the monotonic clock, in seconds.

    Raises SampleError for what a list may not reach or read; OSError for what is gone or does not answer.
    """
    for _ in range(access.max_redirects + 1):
        body, then = _request(address, access, deadline)
        if then is None:
            return body
        address = urljoin(address, then)
        if protocol_of_row(address, access) not in WEB:
            raise SampleError(REFUSED, f"a redirect leads to '{redacted(address)}', which is no web address")
    raise SampleError(REFUSED, f"more than {access.max_redirects} redirects (ingest.lists.max_redirects)")


def _request(address: str, access: ListAccess, deadline: float) -> tuple[bytes, str | None]:
    """The body of one address, or where it redirects to."""
    parts = urlsplit(address)
    headers = {"User-Agent": "procrop-data", "Accept": "image/*, */*;q=0.5"}
    try:
        with _connected(parts, access, deadline) as connection:
            connection.request("GET", _target(parts), headers=headers)
            with connection.getresponse() as response:
                if response.status in _REDIRECTS and response.headers.get("Location"):
                    return b"", str(response.headers["Location"])
                if response.status >= 400:
                    raise WebStatusError(f"the server answers {response.status} {response.reason}", response.status)
                return _body(response, access, deadline), None
    except (http.client.HTTPException, OSError, ValueError) as error:
        if time.monotonic() >= deadline:
            raise _too_late(access) from error  # the timer closed the connection
        if isinstance(error, http.client.HTTPException | ssl.SSLError | ValueError):
            raise ConnectionError(f"a broken answer ({type(error).__name__}: {redacted(error)})") from error
        raise


def _body(response: http.client.HTTPResponse, access: ListAccess, deadline: float) -> bytes:
    announced = response.length or 0
    parts: list[bytes] = []
    size = 0
    while size <= access.max_bytes and announced <= access.max_bytes:
        part = response.read1(CHUNK)
        if time.monotonic() >= deadline:
            raise _too_late(access)
        if not part:
            if size < announced:
                raise http.client.IncompleteRead(b"", announced - size)
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    raise SampleError(REFUSED, f"the file is larger than {access.max_bytes} bytes (ingest.lists.max_bytes)")


@contextmanager
def _connected(parts: SplitResult, access: ListAccess, deadline: float) -> Iterator[http.client.HTTPConnection]:
    """A connection to a checked address of the host, which a timer cuts at the deadline."""
    try:
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme.lower()]
    except ValueError as error:
        raise SampleError(REFUSED, f"'{redacted(parts.netloc)}' is no host") from error
    if time.monotonic() >= deadline:
        raise _too_late(access)
    with _connect(host, port, access, deadline) as plain:
        link = plain
        if parts.scheme.lower() == "https":
            link = _tls().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        timer = Timer(max(0.01, deadline - time.monotonic()), _cut, [link])
        timer.daemon = True
        timer.start()
        connection = http.client.HTTPConnection(host, port)
        connection.sock = link
        try:
            if isinstance(link, ssl.SSLSocket):
                link.do_handshake()
            yield connection
        finally:
            timer.cancel()
            connection.close()
            link.close()


def _connect(host: str, port: int, access: ListAccess, deadline: float) -> socket.socket:
    try:
        addresses = resolve(host, port, access)
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"no host '{host}' ({error})") from error
    for number, address in enumerate(addresses):
        try:
            return socket.create_connection((address, port), max(0.01, deadline - time.monotonic()))
        except OSError:
            if number == len(addresses) - 1:
                raise
    raise OSError(f"no host '{host}'")


def _cut(connection: socket.socket) -> None:
    """Wake a thread that waits for this connection."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_SAFE)
    return f"{path}?{quote(parts.query, safe=_SAFE)}" if parts.query else path


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _too_late(access: ListAccess) -> OSError:
    return OSError(f"it takes longer than {access.timeout_s:g} s (ingest.lists.timeout_s)")
