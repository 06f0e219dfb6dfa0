"""A real S3 server process's code on loopback (moto), and a proxy before it that counts requests and spoils some of them."""

import contextlib
import http.client
import logging
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Faults:
    """What the proxy does to a request.

    spoil: 'error' (500), 'reset', 'lost' (done, but the answer never comes), 'cut' (half of the body), 'slow', 'stall' (no answer
    until the client is gone), or '' for nothing.
    """

    spoil: Callable[[str, str], str] = lambda method, path: ""
    seen: Counter = field(default_factory=Counter)
    spoilt: Counter = field(default_factory=Counter)

    def some(self, share: float, kinds=("error", "reset", "lost"), seed: int = 0) -> None:
        """Spoil that share of the requests from now on."""
        dice, lock = random.Random(seed), threading.Lock()

        def spoil(method: str, path: str) -> str:
            with lock:
                return dice.choice(kinds) if dice.random() < share else ""

        self.spoil = spoil

    def first(self, kind: str, method: str, part: str, times: int = 1) -> None:
        """Spoil the first requests of a method whose path has ``part`` in it."""
        left = [times]

        def spoil(asked: str, path: str) -> str:
            if asked == method and part in path and left[0]:
                left[0] -= 1
                return kind
            return ""

        self.spoil = spoil

    def none(self) -> None:
        """Spoil nothing, and count from nought."""
        self.spoil = lambda method, path: ""
        self.seen.clear()
        self.spoilt.clear()


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[tuple[str, Faults]]:
    """(endpoint, faults) of a proxy before ``upstream`` (host:port)."""
    faults = Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for the acknowledgement of its header
        timeout = 30

        def log_message(self, *args) -> None:
            pass

        def _any(self) -> None:
            body = self._body()
            faults.seen[kind_of(self.command, self.path)] += 1
            spoil = faults.spoil(self.command, self.path)
            faults.spoilt[spoil] += bool(spoil)
            if spoil == "error":
                return self._answer(500, [("Content-Type", "application/xml")], INTERNAL)
            if spoil == "reset":
                return self._reset()
            if spoil == "stall":
                return self._stall()
            status, headers, data = self._upstream(body)
            if spoil == "lost":
                return self._reset()
            if spoil == "cut":
                return self._cut(status, headers, data)
            if spoil == "slow":
                time.sleep(0.5)
            return self._answer(status, headers, data)

        def _body(self) -> bytes:
            if self.headers.get("Expect", "").lower() == "100-continue":
                pass  # handled by the base class
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _upstream(self, body: bytes):
            connection = http.client.HTTPConnection(upstream, timeout=30)
            headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP | {"expect", "content-length"}}
            connection.request(
                self.command, self.path, body=body or None, headers={**headers, "Content-Length": str(len(body))}
            )
            answer = connection.getresponse()
            data = answer.read()
            found = answer.status, answer.getheaders(), data
            connection.close()
            return found

        def _answer(self, status: int, headers, data: bytes) -> None:
            self.send_response_only(status)
            length = next(
                (v for n, v in headers if n.lower() == "content-length" and self.command == "HEAD"), str(len(data))
            )
            for name, value in headers:
                if name.lower() not in HOP | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _cut(self, status: int, headers, data: bytes) -> None:
            """Half of the body, then nothing."""
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self._reset()

        def _stall(self) -> None:
            """No answer until the client is gone."""
            self.connection.settimeout(60)
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.recv(1)

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, address: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faults
    finally:
        server.shutdown()
        server.server_close()


def kind_of(method: str, path: str) -> str:
    """What a request is called on a bill: the operation by its usual name."""
    asked = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if method == "GET" and "list-type" in asked:
        return "LIST"
    if "uploads" in asked or "uploadId" in asked:
        return "MULTIPART"
    return method


@contextlib.contextmanager
def s3_server(patch) -> Iterator[tuple[str, Faults, "object"]]:
    """(endpoint through the proxy, faults, boto3 client without the proxy) of an empty S3, with the environment set for it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    patch.setattr("werkzeug.serving.WSGIRequestHandler.disable_nagle_algorithm", True)
    patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)  # so that a small file can go up in parts
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server.start()
    host, port = server.get_host_and_port()
    # moto keeps one S3 a process, whatever its servers: buckets of other tests must not be found.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST"), timeout=10).close()
    names = {
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "very-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**names, "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        patch.setenv(name, value)
    try:
        with proxy(f"{host}:{port}") as (endpoint, faults):
            patch.setenv("AWS_ENDPOINT_URL", endpoint)
            client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
            yield endpoint, faults, client
            client.close()
    finally:
        server.stop()
