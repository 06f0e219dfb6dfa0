"""Stores on a real S3 server on loopback, with errors between: whole files, one winner, nothing left, words without secrets."""

import logging
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from pipeline.core.errors import StorageError, UsageError
from pipeline.storage import locks, retry, s3, stale_uploads
from pipeline.storage.locks import shard_lock
from pipeline.storage.open_store import open_store
from pipeline.storage.stale_uploads import abort_stale_uploads
from tests.s3_server import s3_server

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as found:
        patch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, first_wait_s=0.02, max_wait_s=0.1))
        yield found


@pytest.fixture
def store(server, request):
    _, faults, client = server
    faults.none()
    bucket = "bucket-" + request.node.name.split("[")[0].replace("_", "-")[-40:].strip("-")
    client.create_bucket(Bucket=bucket)
    yield open_store(f"s3://{bucket}/some/run")
    faults.none()


def test_write_read_replace_list_move_remove(store, server):
    store.write("a/x.bin", b"one")
    store.write("a/x.bin", b"three")
    assert store.read("a/x.bin") == b"three"
    assert store.read_range("a/x.bin", 1, 2) == b"hr"
    assert store.size("a/x.bin") == 5
    assert store.names("") == ["a"] and store.names("a") == ["x.bin"] and store.names("nowhere") == []
    assert store.exists("a") and store.exists("a/x.bin") and not store.exists("a/x")
    store.move("a", "b/c")
    assert not store.exists("a/x.bin") and store.read("b/c/x.bin") == b"three"
    store.remove("b")
    assert not store.exists("b/c/x.bin")
    store.remove("b")
    store.remove("b/c/x.bin")
    with pytest.raises(FileNotFoundError):
        store.read("no/such.json")


def test_create_has_one_winner(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("receipt.json", b"%d" % i), range(8)))
    assert won.count(True) == 1
    assert store.read("receipt.json") == b"%d" % won.index(True)
    assert not store.create("receipt.json", b"late")


def test_what_another_machine_wrote_is_seen_at_once(store, server):
    _, _, client = server
    bucket = store.url.split("/")[2]
    assert store.names("a") == []
    client.put_object(Bucket=bucket, Key="some/run/a/new.json", Body=b"1")
    assert store.names("a") == ["new.json"] and store.exists("a/new.json")
    client.put_object(Bucket=bucket, Key="some/run/a/newer.json", Body=b"1")
    client.delete_object(Bucket=bucket, Key="some/run/a/new.json")
    assert store.names("a") == ["newer.json"] and not store.exists("a/new.json")


@pytest.mark.parametrize("kind", ["error", "reset", "lost", "slow"])
def test_an_error_that_time_cures_is_tried_again(store, server, kind):
    _, faults, _ = server
    faults.first(kind, "PUT", "x.json", times=2)
    store.write("x.json", b"1")
    assert faults.spoilt[kind] == (1 if kind == "slow" else 2)  # what is slow comes all the same
    faults.first(kind, "GET", "x.json", times=2)
    assert store.read("x.json") == b"1"
    faults.first(kind, "HEAD", "x.json", times=2)
    assert store.exists("x.json")


def test_a_body_that_breaks_off_is_read_again(store, server):
    _, faults, _ = server
    store.write("x.bin", bytes(200_000))
    faults.first("cut", "GET", "x.bin", times=2)
    assert store.read("x.bin") == bytes(200_000) and faults.spoilt["cut"] == 2


def test_a_create_whose_answer_was_lost_is_still_ours(store, server):
    _, faults, _ = server
    faults.first("lost", "PUT", "receipt.json")
    assert store.create("receipt.json", b"ours")
    assert faults.spoilt["lost"] == 1 and not store.create("receipt.json", b"theirs")


def test_a_file_that_changed_is_neither_replaced_nor_removed(store, server):
    """What a writer saw before it slept may be another's file when it wakes."""
    _, faults, _ = server
    store.write("a/x.json", b"old")
    seen = store.etag("a/x.json")
    store.write("a/x.json", b"of another")
    assert not store.replace_if("a/x.json", b"late", seen)
    store.remove_if("a/x.json", seen)
    assert store.read("a/x.json") == b"of another"
    seen = store.etag("a/x.json")
    faults.first("lost", "PUT", "x.json")
    assert store.replace_if("a/x.json", b"new", seen) and store.read("a/x.json") == b"new"
    store.remove_if("a/x.json", store.etag("a/x.json"))
    assert not store.exists("a/x.json") and store.etag("a/x.json") == ""
    store.remove_if("a/x.json", seen)
    assert not store.replace_if("a/x.json", b"late", seen)


def test_a_heartbeat_that_was_overtaken_loses_the_lock(store):
    """The owner sleeps between its look at the lock and its heartbeat; another takes the lock over meanwhile."""
    with shard_lock(store, "x", 0) as lock:
        is_ours = lock.is_ours

        def slept():
            held = is_ours()
            store.write(lock.path, b'{"token": "other", "host": "elsewhere", "pid": 1, "beat": 1e12}')
            return held

        lock.is_ours = slept
        lock.beat()
        lock.release()
        assert lock.lost and b"other" in store.read(lock.path)


def test_a_stale_lock_has_one_taker(store):
    store.write("locks/x-000000.json", b'{"token": "dead", "host": "elsewhere", "pid": 1, "beat": 0}')
    seen = locks._read(store, "locks/x-000000.json")
    with ThreadPoolExecutor(6) as pool:
        takers = [locks.Lock(store, "locks/x-000000.json", locks.LOCK_TIMING) for _ in range(6)]
        assert sorted(pool.map(lambda lock: locks._take(lock, seen), takers)) == [False] * 5 + [True]


def test_what_is_forbidden_or_missing_is_asked_for_once(store, server):
    _, faults, _ = server
    faults.seen.clear()
    with pytest.raises(FileNotFoundError):
        store.read("no/such.json")
    assert faults.seen == {"GET": 1}


def test_errors_that_stay_end_in_one_line(store, server):
    _, faults, _ = server
    faults.some(1.0, ("error", "reset"))
    with pytest.raises(StorageError, match="all retries failed") as caught:
        store.read("x.json")
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    tries = retry.RETRY_POLICY.attempts
    assert tries <= sum(faults.spoilt.values()) <= 2 * tries  # aiohttp asks once more where a kept connection was reset


@pytest.fixture
def large(tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "PART", 64 << 10)
    path = tmp_path / "large.tar"
    path.write_bytes(b"procrop-" * (22 << 10))
    return path


def unfinished(store, client):
    return client.list_multipart_uploads(Bucket=store.url.split("/")[2]).get("Uploads", [])


def test_a_large_file_goes_up_in_parts_whatever_breaks(store, server, large):
    _, faults, client = server
    faults.first("error", "PUT", "partNumber=2")
    store.copy_in(large, "a/large.tar")
    assert faults.spoilt["error"] == 1 and faults.seen["MULTIPART"] > 4
    assert store.read("a/large.tar") == large.read_bytes()
    assert store.read_range("a/large.tar", (64 << 10) - 3, 8) == large.read_bytes()[(64 << 10) - 3 :][:8]
    assert unfinished(store, client) == []
    store.adopt(large, "b/large.tar")
    assert not large.exists() and store.size("b/large.tar") == 176 << 10


def test_an_upload_that_fails_for_good_leaves_no_parts(store, server, large):
    _, faults, client = server
    faults.first("error", "PUT", "partNumber=2", times=99)
    with pytest.raises(StorageError):
        store.copy_in(large, "a/large.tar")
    assert unfinished(store, client) == [] and not store.exists("a/large.tar") and large.exists()


def begin_upload(store, client, key="some/run/outpaint/000001.tar"):
    bucket = store.url.split("/")[2]
    begun = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.upload_part(Bucket=bucket, Key=key, PartNumber=1, UploadId=begun["UploadId"], Body=b"1")


def test_what_a_killed_upload_left_is_swept(store, server):
    _, _, client = server
    begin_upload(store, client)
    begin_upload(store, client, "some/running-on/000001.tar")  # another run's
    store.write("locks/outpaint-000001.json", b'{"host": "gone", "pid": 1, "beat": 0}')  # a dead one's
    assert abort_stale_uploads(store) == 1
    assert [upload["Key"] for upload in unfinished(store, client)] == ["some/running-on/000001.tar"]
    assert abort_stale_uploads(store) == 0


UPLOAD = """
import sys
from pathlib import Path
from pipeline.storage import open_store, s3
s3.PART = 64 << 10
open_store.remote_store(sys.argv[1]).copy_in(Path(sys.argv[2]), "a/large.tar")
"""


def test_uploads_of_a_killed_process_are_aborted(store, server, large):
    _, faults, client = server
    reached = Event()

    def spoil(method, path):
        if "partNumber=3" in path:
            reached.set()
            return "stall"
        return ""

    faults.spoil = spoil
    command = [sys.executable, "-W", "ignore", "-c", UPLOAD, store.url, str(large)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        assert reached.wait(120)
        process.kill()
    assert len(unfinished(store, client)) == 1 and not store.exists("a/large.tar")
    assert abort_stale_uploads(store) == 1 and unfinished(store, client) == []


def test_while_others_work_only_old_uploads_are_swept(store, server, monkeypatch):
    _, _, client = server
    begin_upload(store, client)
    with shard_lock(store, "outpaint", 1):
        monkeypatch.setattr(stale_uploads, "STALE_AFTER_S", 1e12)  # the server says that all uploads began in 2010
        assert abort_stale_uploads(store) == 0
        monkeypatch.setattr(stale_uploads, "STALE_AFTER_S", 60)
        assert abort_stale_uploads(store) == 1
    assert unfinished(store, client) == [] and store.names("locks") == []


def test_a_missing_bucket_is_named_and_not_made(server):
    _, faults, client = server
    faults.none()
    for act in (
        lambda s: s.read("x.json"),
        lambda s: s.write("x.json", b"1"),
        lambda s: s.create("x.json", b"1"),
        lambda s: s.names(""),
    ):
        with pytest.raises(UsageError, match=r"no bucket 's3://nowhere'.*create it first"):
            act(open_store("s3://nowhere/run"))
    assert "nowhere" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


def test_a_store_pickles_as_its_address(store, server, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    data = pickle.dumps(open_store(store.url))
    assert b"secret" not in data
    again = pickle.loads(data)
    again.write("x.json", b"1")
    assert again.url == store.url and again.read("x.json") == b"1"


def test_the_endpoint_comes_from_the_environment(store, server, monkeypatch):
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", server[0])
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    store.write("x.json", b"1")
    assert open_store(store.url).read("x.json") == b"1"


def test_nothing_secret_is_said(store, server, monkeypatch, caplog):
    _, faults, _ = server
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    store = open_store(store.url)
    store._fs.connect(refresh=True)
    store.write("x.json", b"1")
    faults.some(1.0, ("error",))
    with pytest.raises(StorageError) as caught:
        store.write("x.json", b"1")
    said = caplog.text + str(caught.value)
    assert (
        "very-secret-key" not in said
        and "a-session-token" not in said
        and "AKIATEST" not in said
        and "Signature=" not in said
    )


def test_addresses_with_passwords_are_refused_and_hidden():
    with pytest.raises(UsageError, match="password") as caught:
        open_store("s3://AKIAME:hunter22@bucket/run")
    assert "hunter22" not in str(caught.value)
    line = retry.redacted("403 for url: http://n:1/x?op=OPEN&delegation=abcdef&X-Amz-Signature=0123\nnext")
    assert line == "403 for url: http://n:1/x?op=OPEN&delegation=***&X-Amz-Signature=*** next"


def test_a_missing_package_is_named_with_its_install_line(monkeypatch):
    with pytest.raises(UsageError, match=r"gs://.*pip install 'procrop-data\[gcs\]'"):
        open_store("gs://bucket/run")
