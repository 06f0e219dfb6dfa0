"""Photographs from elsewhere: the same list as from a folder here, whatever breaks, and nobody's fault put on a photograph."""

import io
import tarfile
import time
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import StorageError, UsageError
from pipeline.storage import retry
from stages.near_duplicates.excluded_sets import excluded_digest, excluded_files
from stages.photos.list_access import ListAccess
from stages.photos.source_readers import list_inputs, read_source
from stages.photos.source_scan import SETTLED_NS, scan_sources
from tests.chain import make_photos
from tests.s3_server import s3_server
from tests.webhdfs_server import webhdfs_server

CREDITS = "file,title,author,licence\nphoto 1.jpg,One,Ann,CC0\n"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = make_photos(tmp_path_factory.mktemp("photos"), 4)
    (folder / "credits.csv").write_text(CREDITS)
    (folder / "notes.txt").write_text("not a photograph")
    return folder


@pytest.fixture(scope="module")
def server(photos):
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as (endpoint, faults, client):
        patch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, first_wait_s=0.02, max_wait_s=0.1))
        client.create_bucket(Bucket="photos")
        for path in photos.iterdir():
            client.upload_file(str(path), "photos", f"mine/{path.name}")
        client.put_object(Bucket="photos", Key="set.tar", Body=tar_of(photos))
        yield endpoint, faults, client


@pytest.fixture
def faults(server):
    yield server[1]
    server[1].none()


def tar_of(photos) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for path in sorted(photos.glob("*.jpg")):
            tar.add(path, path.name.replace(" ", "-"))
    return sink.getvalue()


def scanned(spec, known=None):
    return scan_sources(spec, 3, near_bits=6, limit=0, tick=lambda: None, known=known)


def test_a_folder_in_a_bucket_lists_as_the_folder_here(photos, faults):
    faults.some(0.2)
    there, here = scanned("s3://photos/mine/"), scanned(str(photos))
    assert there.digest == here.digest and len(there) == 4
    assert next(s for s in there if s.uri == "photo 1.jpg").author == "Ann"
    assert read_source("s3://photos/mine", "photo 2.jpg") == (photos / "photo 2.jpg").read_bytes()


def test_files_that_did_not_change_are_not_read_again(faults):
    time.sleep(SETTLED_NS / 1e9 + 1)  # what changed just now is read again in any case; a store tells whole seconds
    first = scanned("s3://photos/mine")
    faults.seen.clear()
    assert scanned("s3://photos/mine", first.files).digest == first.digest
    assert faults.seen["GET"] <= 1 and faults.seen["LIST"] == 1  # the credits


def test_a_glob_a_tar_and_a_parquet_of_addresses(photos, faults, tmp_path, server):
    found = list(list_inputs("s3://photos/mine/photo*[12].jpg"))
    assert [item.uri for item in found] == ["s3://photos/mine/photo 1.jpg", "s3://photos/mine/photo 2.jpg"]
    assert read_source("s3://photos/mine/*", found[0].uri) == found[0].read() == (photos / "photo 1.jpg").read_bytes()
    found = list(list_inputs("s3://photos/set.tar"))
    assert [item.uri for item in found][1] == "s3://photos/set.tar#photo-1.jpg" and len(found) == 4
    assert (
        read_source("s3://photos/set.tar", found[1].uri, place=(found[1].offset, found[1].size))
        == (photos / "photo 1.jpg").read_bytes()
    )
    sink = io.BytesIO()
    pq.write_table(pa.table({"url": ["s3://photos/mine/photo 3.jpg"], "author": ["Bo"]}), sink)
    server[2].put_object(Bucket="photos", Key="lists/some.parquet", Body=sink.getvalue())
    (item,) = list_inputs("s3://photos/lists/some.parquet")
    assert item.credits["author"] == "Bo" and item.read() == (photos / "photo 3.jpg").read_bytes()


def test_a_test_set_in_a_bucket_guards_as_one_here(photos, faults):
    assert [item.uri for _, item in excluded_files(["s3://photos/mine"])] == sorted(
        p.name for p in photos.glob("*.jpg")
    )
    before = excluded_digest(["s3://photos/mine"])
    faults.first("reset", "GET", "photo", times=2)
    assert excluded_digest(["s3://photos/mine"]) == before
    with pytest.raises(UsageError, match="--exclude-near 's3://photos/nothing'"):
        excluded_files(["s3://photos/nothing"])


def test_a_store_that_is_down_is_no_photographs_fault(faults):
    faults.some(1.0, ("error",))
    with pytest.raises(StorageError, match="all retries failed"):
        read_source("s3://photos/mine", "photo 1.jpg")


def test_nothing_there_is_wrong_usage(faults):
    with pytest.raises(UsageError, match="nothing is there"):
        list(list_inputs("s3://photos/empty"))
    with pytest.raises(UsageError, match="no bucket 's3://nowhere'"):
        list(list_inputs("s3://nowhere/mine"))


def test_hdfs_lists_as_the_folder_here(photos):
    with webhdfs_server() as (address, tree):
        for path in photos.iterdir():
            tree.mkdirs("/data/photos")
            tree.entries[f"/data/photos/{path.name}"] = path.read_bytes()
        assert scanned(f"webhdfs://{address}/data/photos").digest == scanned(str(photos)).digest
        (found,) = list_inputs(f"webhdfs://{address}/data/photos/*1.jpg")
        assert found.uri == f"webhdfs://{address}/data/photos/photo 1.jpg"
        assert found.read() == (photos / "photo 1.jpg").read_bytes()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def test_a_gone_or_forbidden_address_fails_that_photograph_alone(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, attempts=2, first_wait_s=0.01))
    web = ThreadingHTTPServer(("127.0.0.1", 0), lambda *rest: Quiet(*rest, directory=str(photos)))
    Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    base = f"http://127.0.0.1:{web.server_port}"
    addresses = [f"{base}/photo%201.jpg", f"{base}/gone.jpg", "http://127.0.0.1:9/never.jpg"]
    pq.write_table(pa.table({"url": addresses}), tmp_path / "list.parquet")
    listed = list_inputs(str(tmp_path / "list.parquet"), ListAccess(private=True))
    good, gone, never = sorted(listed, key=lambda item: addresses.index(item.uri))
    assert good.read() == (photos / "photo 1.jpg").read_bytes()
    for item in (gone, never):
        with pytest.raises(OSError, match=r"404|does not answer"):
            item.read()
    assert len(scanned(str(tmp_path / "list.parquet"))) == 3
    web.shutdown()
    web.server_close()
