"""A server that speaks WebHDFS as a name node and a data node do: two steps with a redirect, renames that never replace.

After the protocol's public documentation (Hadoop's WebHDFS REST API). Files are in memory.
"""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

NAME, DATA = "/webhdfs/v1", "/data/v1"


class Refused(Exception):
    """An answer of 4xx with the server's exception."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status, self.word = status, word


class Tree:
    """Folders and files by path; ``None`` is a folder."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes | None] = {"/": None}
        self.lock = threading.RLock()
        self.seen: Counter = Counter()
        self.spoil: Callable[[str, str], str] = lambda op, path: ""
        self.closed_to: tuple[str, ...] = ()  # users that may not write
        self.knows_options = True

    def first(self, kind: str, op: str, times: int = 1) -> None:
        """Spoil the first requests of an operation: 'error' (503), 'data' (the data node's 500), 'lost' (done, not answered)."""
        left = [times]

        def spoil(asked: str, path: str) -> str:
            left[0] -= asked == op
            return kind if asked == op and left[0] >= 0 else ""

        self.spoil = spoil

    def every(self, nth: int, *kinds: str) -> None:
        """Spoil every nth request from now on, in turn in each way."""
        seen = [0]

        def spoil(op: str, path: str) -> str:
            seen[0] += 1
            return kinds[seen[0] // nth % len(kinds)] if seen[0] % nth == 0 else ""

        self.spoil = spoil

    def mkdirs(self, path: str) -> None:
        parts = path.strip("/").split("/")
        for end in range(len(parts)):
            folder = "/" + "/".join(parts[: end + 1])
            if self.entries.setdefault(folder, None) is not None:
                raise Refused(403, "ParentNotDirectoryException", f"{folder} is a file")

    def status(self, path: str) -> dict:
        if path not in self.entries:
            raise Refused(404, "FileNotFoundException", f"File does not exist: {path}")
        data = self.entries[path]
        kind = "DIRECTORY" if data is None else "FILE"
        return {"type": kind, "length": len(data or b""), "modificationTime": 1, "pathSuffix": ""}

    def children(self, path: str) -> list[dict]:
        self.status(path)
        start = path.rstrip("/") + "/"
        names = [p for p in self.entries if p.startswith(start) and p != start and "/" not in p[len(start) :]]
        return [{**self.status(name), "pathSuffix": name[len(start) :]} for name in sorted(names)]

    def rename(self, path: str, to: str, replace: bool) -> bool:
        if (
            path not in self.entries
            or (to in self.entries and not replace)
            or to.rsplit("/", 1)[0] not in {*self.entries, ""}
        ):
            return False
        for name in [p for p in self.entries if p == path or p.startswith(f"{path}/")]:
            self.entries[to + name[len(path) :]] = self.entries.pop(name)
        return True

    def delete(self, path: str) -> bool:
        names = [p for p in self.entries if p == path or p.startswith(f"{path}/")]
        for name in names:
            del self.entries[name]
        return bool(names)


@contextlib.contextmanager
def webhdfs_server() -> Iterator[tuple[str, Tree]]:
    """(host:port, tree) of an empty one."""
    tree = Tree()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for the acknowledgement of its header

        def log_message(self, *args) -> None:
            pass

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            op, at_data = asked["op"].upper(), parts.path.startswith(DATA)
            path = unquote(parts.path[len(DATA if at_data else NAME) :]) or "/"
            path = path.rstrip("/") or "/"
            tree.seen[f"{op} data" if at_data else op] += 1
            spoil = tree.spoil(op, path)
            if spoil == "error" or (spoil == "data" and at_data):
                return self._answer(503 if spoil == "error" else 500, b"<html>an error page</html>")
            try:
                with tree.lock:
                    status, headers, data = self._do(op, path, asked, body, at_data)
            except Refused as error:
                told = {
                    "RemoteException": {"exception": error.word, "javaClassName": error.word, "message": str(error)}
                }
                return self._answer(error.status, json.dumps(told).encode())
            if spoil == "lost":
                self.close_connection = True
                return self.connection.close()
            return self._answer(status, data, headers)

        def _do(self, op, path, asked, body, at_data):
            if op in ("CREATE", "APPEND", "MKDIRS", "RENAME", "DELETE") and asked.get("user.name") in tree.closed_to:
                raise Refused(
                    403, "AccessControlException", f"Permission denied: user={asked.get('user.name')}, access=WRITE"
                )
            if op in ("CREATE", "APPEND", "OPEN") and not at_data:
                if op != "CREATE":
                    tree.status(path)
                where = f"http://{self.headers['Host']}{DATA}{urlsplit(self.path).path[len(NAME) :]}?{urlsplit(self.path).query}"
                return 307, {"Location": where}, b""
            return self._done(op, path, asked, body)

        def _done(self, op, path, asked, body):
            if op == "CREATE":
                if path in tree.entries and asked.get("overwrite") != "true":
                    raise Refused(403, "FileAlreadyExistsException", f"{path} exists")
                tree.mkdirs(path.rsplit("/", 1)[0])
                tree.entries[path] = body
                return 201, {}, b""
            if op == "APPEND":
                tree.entries[path] = tree.entries[path] + body
                return 200, {}, b""
            if op == "OPEN":
                start = int(asked.get("offset", 0))
                data = tree.entries[path][start:]
                return 200, {}, data[: int(asked["length"])] if "length" in asked else data
            if op == "MKDIRS":
                tree.mkdirs(path)
                return self._told({"boolean": True})
            if op == "GETFILESTATUS":
                return self._told({"FileStatus": tree.status(path)})
            if op == "LISTSTATUS":
                return self._told({"FileStatuses": {"FileStatus": tree.children(path)}})
            if op == "DELETE":
                return self._told({"boolean": tree.delete(path)})
            assert op == "RENAME"
            replace = tree.knows_options and asked.get("renameoptions") == "OVERWRITE"
            done = tree.rename(path, asked["destination"], replace)
            return (200, {}, b"") if replace and done else self._told({"boolean": done})

        def _told(self, what):
            return 200, {"Content-Type": "application/json"}, json.dumps(what).encode()

        def _answer(self, status, data, headers=None) -> None:
            self.send_response_only(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = _any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, address: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", tree
    finally:
        server.shutdown()
        server.server_close()
