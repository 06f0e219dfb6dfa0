"""Rows of a list are addresses and nothing more: no command, no file of this machine, no private host, and nothing endless."""

import itertools
import os
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import SampleError, UsageError
from stages.photos import web_reader
from stages.photos.list_access import DEFAULT_ACCESS, ListAccess, is_public, protocol_of_row, resolve
from stages.photos.source_readers import list_inputs, read_source
from stages.photos.source_scan import scan_sources
from stages.photos.url_list import read_row
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for

OWN = ListAccess(private=True, max_bytes=100_000, max_redirects=2, timeout_s=1.0)


def write_list(to, **columns):
    pq.write_table(pa.table(columns), to)
    return str(to)


def refused(address, access=DEFAULT_ACCESS):
    with pytest.raises(SampleError) as said:
        read_row(address, access)
    assert said.value.reason == "refused"
    return str(said.value)


@pytest.mark.parametrize("row", ["pipe:touch {} #x.jpg", "pipe:touch {}", "file:pipe:touch {} #x.jpg", "|touch {}"])
def test_a_row_never_runs_a_command(tmp_path, row):
    made = tmp_path / "made"
    spec = write_list(tmp_path / "list.parquet", url=[row.format(made), f"{tmp_path}/in.tar#a.jpg"])
    session = session_for(recipe_for(spec), tmp_path / "work")
    result = run_chain(session, until="ingest")[0]
    assert not made.exists()
    assert sum(r.n_rejected.get("refused", 0) for r in result.receipts) == 2 and not kept_rows(session, "ingest")


def test_an_archives_name_in_a_row_opens_no_archive(tmp_path):
    make_photos(tmp_path / "src", 1)
    os.system(f"cd {tmp_path}/src && tar cf ../in.tar --transform 's/ //' 'photo 0.jpg'")
    assert [item.uri for item in list_inputs(str(tmp_path / "in.tar"))] == [f"{tmp_path}/in.tar#photo0.jpg"]
    with pytest.raises(OSError, match="No such file"):
        read_row(f"{tmp_path}/in.tar#photo0.jpg", ListAccess(local=True))


@pytest.mark.parametrize(
    "row",
    [
        "/etc/hostname", "file:///etc/hostname", "FILE:///etc/hostname", "local:///etc/hostname", "a.jpg", "~/a.jpg",
        "gopher://host/x", "ftp://host/x", "memory://x.jpg", "data:,x", "github://a:b@main/x.jpg", "jar:file:///a!/b",
        "simplecache::http://host/x.jpg", "zip://a.jpg::http://host/x.zip", "http://host/a\r\nHost: b", "http://host/\0",
        "webhdfs://namenode:9870/x.jpg", "hdfs://namenode/x.jpg", "sftp://host/x.jpg", "reference://x", "s3a::x", "",
    ],
)  # fmt: skip
def test_only_the_web_and_cloud_stores_are_reached(row):
    refused(row)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "[::1]",
        "[::ffff:10.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]", "0.0.0.0", "100.64.0.1",
        "224.0.0.1",
    ],
)  # fmt: skip
def test_private_hosts_are_not_reached(host):
    said = refused(f"http://{host}/latest/meta-data")
    assert "private network" in said and "ingest.lists.private=true" in said


def test_public_addresses_are_public():
    assert is_public("8.8.8.8") and is_public("2606:4700::1111") and not is_public("fe80::1%eth0")
    assert protocol_of_row("S3://bucket/x.jpg", DEFAULT_ACCESS) == "s3"
    assert resolve("127.0.0.1", 80, OWN) == ["127.0.0.1"]


class Odd(BaseHTTPRequestHandler):
    """A server that answers as its path says."""

    def do_GET(self) -> None:
        word, _, rest = self.path[1:].partition("/")
        getattr(self, f"say_{word}")(rest)

    def say_to(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()

    def say_round(self, _: str) -> None:
        self.say_to("/round")

    def say_ok(self, size: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", size)
        self.end_headers()
        self.wfile.write(b"x" * min(int(size), 1_000_000))

    def say_endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in itertools.count():
            self.wfile.write(b"x" * 65536)

    def say_slow(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def say_nothing(self, _: str) -> None:
        time.sleep(4)

    def say_nonsense(self, _: str) -> None:
        self.wfile.write(b"\x00\xff nonsense\r\n\r\n")

    def log_message(self, *args) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args) -> None:
        pass


@contextmanager
def serving():
    with Server(("127.0.0.1", 0), Odd) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def web():
    with serving() as base:
        yield base


def test_bodies_and_redirects_have_limits(web):
    assert read_row(f"{web}/ok/5", OWN) == b"xxxxx" and read_row(f"{web}/to//ok/7", OWN) == b"x" * 7
    assert "larger than 100000 bytes" in refused(f"{web}/ok/100001", OWN)
    assert "larger than 100000 bytes" in refused(f"{web}/endless", OWN)
    assert "more than 2 redirects" in refused(f"{web}/round", OWN)


@pytest.mark.parametrize("word", ["slow", "nothing"])
def test_a_slow_server_is_left_in_time(web, word):
    begun = time.monotonic()
    with pytest.raises(OSError, match="takes longer than 1 s"):
        read_row(f"{web}/{word}", OWN)
    assert time.monotonic() - begun < 3


def test_a_redirect_is_checked_as_a_row_is(web, monkeypatch):
    for target in ("file:///etc/hostname", "pipe:touch /tmp/x", "s3://bucket/x"):
        assert refused(f"{web}/to/{target}", OWN)
    here = web_reader.resolve

    def only_here(host, port, access):
        return here(host, port, OWN if host == "127.0.0.1" else access)

    monkeypatch.setattr(web_reader, "resolve", only_here)  # the list's own server is public, where it leads to is not
    assert "'localhost' is on a private network" in refused(f"{web}/to/{web.replace('127.0.0.1', 'localhost')}/ok/5")


def test_a_broken_answer_is_that_rows_fault(web):
    quick = OWN.model_copy(update={"timeout_s": 0.3})
    with pytest.raises(OSError, match=r"broken answer|longer than"):
        read_row(f"{web}/nonsense", quick)
    with pytest.raises(OSError, match=r"no host 'no-such-host\.invalid'"):
        read_row("http://no-such-host.invalid/x.jpg", quick)


def test_a_list_with_gaps_and_repeats_has_a_row_each(tmp_path):
    photos = make_photos(tmp_path / "src", 2)
    good = str(photos / "photo 0.jpg")
    spec = write_list(tmp_path / "list.parquet", path=[good, None, good, "", f"{photos}/gone #2.jpg"])
    recipe = recipe_for(spec, ingest={"lists": {"local": True}})
    session = session_for(recipe, tmp_path / "work")
    receipts = run_chain(session, until="ingest")[0].receipts
    assert sum(r.n_kept for r in receipts) == 1 and sum(r.n_rejected.get("unreadable", 0) for r in receipts) == 3
    assert read_source(spec, good, ListAccess(local=True)) == (photos / "photo 0.jpg").read_bytes()


def test_a_row_that_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(OSError, match="no regular file"):
            read_row(str(path), ListAccess(local=True))
    assert len(scan_sources(str(tmp_path), 1, near_bits=0, limit=0, tick=lambda: None)) == 1


@pytest.mark.parametrize("data", [b"", b"PAR1", b"<html>", b"PAR1" + b"\xff" * 40 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_one_line(tmp_path, data):
    (tmp_path / "list.parquet").write_bytes(data)
    with pytest.raises(UsageError, match=r"list\.parquet' cannot be read as Parquet"):
        list_inputs(str(tmp_path / "list.parquet"))


def test_a_parquet_without_addresses_names_its_columns(tmp_path):
    with pytest.raises(UsageError, match="needs a column url, uri or path; it has text, number"):
        list_inputs(write_list(tmp_path / "list.parquet", text=["a"], number=[1]))
