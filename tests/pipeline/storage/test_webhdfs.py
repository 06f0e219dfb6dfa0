"""HDFS over HTTP, by fsspec's client: the same promises as a disk's, against a server that speaks the protocol."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.core.errors import StorageError, UsageError
from pipeline.storage import retry
from pipeline.storage.locks import shard_lock
from pipeline.storage.open_store import open_store
from tests.webhdfs_server import webhdfs_server


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, first_wait_s=0.01, max_wait_s=0.05))
    with webhdfs_server() as (address, tree):
        store = open_store(f"webhdfs://{address}/user/me/run")
        yield store, tree
        store._fs.session.close()


def asides(tree):
    return [path for path in tree.entries if ".partial." in path]


def test_write_read_replace_list_move_remove(served, tmp_path):
    store, tree = served
    store.write("a/x.bin", b"one")
    store.write("a/x.bin", b"three")
    assert store.read("a/x.bin") == b"three" and store.read_range("a/x.bin", 1, 2) == b"hr"
    assert store.size("a/x.bin") == 5 and store.names("a") == ["x.bin"] and store.names("nowhere") == []
    assert store.exists("a") and not store.exists("b")
    store.move("a", "b/c")
    assert not store.exists("a/x.bin") and store.read("b/c/x.bin") == b"three"
    store.write("a/x.bin", b"1")
    with pytest.raises(StorageError, match="cannot be moved"):
        store.move("a", "b/c")
    (tmp_path / "large").write_bytes(b"12345678" * 1_200_000)
    store.copy_in(tmp_path / "large", "a/large.tar")
    assert store.size("a/large.tar") == 9_600_000 and store.read_range("a/large.tar", 9_599_996, 99) == b"5678"
    store.adopt(tmp_path / "large", "a/large.tar")
    assert not (tmp_path / "large").exists() and store.names("a") == ["large.tar", "x.bin"]
    store.remove("b")
    store.remove("b")
    with pytest.raises(FileNotFoundError):
        store.read("b/c/x.bin")
    assert asides(tree) == [] and tree.entries["/user/me/run"] is None
    store.write("empty.json", b"")
    assert store.read("empty.json") == b"" and pickle.loads(pickle.dumps(store)).exists("empty.json")


def test_create_has_one_winner(served):
    store, tree = served
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("receipt.json", b"%d" % i), range(8)))
    assert won.count(True) == 1 and store.read("receipt.json") == b"%d" % won.index(True)
    assert asides(tree) == []


def test_a_lock_keeps_a_second_one_out(served):
    store, _ = served
    with shard_lock(store, "outpaint", 3) as lock:
        assert not store.create("locks/outpaint-000003.json", b"{}")
        lock.check()
    assert store.names("locks") == []


@pytest.mark.parametrize("kind", ["error", "lost"])
@pytest.mark.parametrize("op", ["CREATE", "APPEND", "RENAME", "MKDIRS", "DELETE"])
def test_a_write_goes_through_whatever_breaks(served, op, kind):
    store, tree = served
    store.write("x.json", b"old")
    tree.first(kind, op)
    store.write("x.json", b"new")
    tree.first(kind, op)
    assert store.create("y.json", b"ours") and not store.create("y.json", b"theirs")
    assert store.read("x.json") == b"new" and store.read("y.json") == b"ours"


def test_a_data_nodes_error_page_is_not_taken_for_the_file(served):
    store, tree = served
    store.write("x.json", b"1")
    tree.first("data", "OPEN", times=3)
    assert store.read("x.json") == b"1" and tree.seen["OPEN data"] == 2


def test_a_gateway_without_rename_options_can_replace_too(served):
    store, tree = served
    tree.knows_options = False
    store.write("x.json", b"old")
    store.write("x.json", b"new")
    assert store.read("x.json") == b"new" and asides(tree) == []


def test_no_permission_is_one_line_asked_for_once(served):
    store, tree = served
    closed = open_store(store.url.replace("webhdfs://", "webhdfs://guest@"))
    tree.closed_to = ("guest",)
    with pytest.raises(StorageError, match=r"refused \(Permission denied: user=guest.*lack a right") as caught:
        closed.write("x.json", b"1")
    assert caught.value.exit_code == 4 and tree.seen["MKDIRS"] == 1 and len(tree.entries) == 1
    closed._fs.session.close()


def test_a_server_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, attempts=2, first_wait_s=0.01))
    store = open_store("webhdfs://127.0.0.1:9/run")
    with pytest.raises(StorageError, match="does not answer as it should"):
        store.read("x.json")
    store._fs.session.close()


def test_hadoops_own_protocol_holds_no_receipts():
    """Arrow's rename replaces what is there: two writers of one receipt would both win."""
    with pytest.raises(UsageError, match=r"'hdfs://namenode/run' cannot be a run directory.*use webhdfs://"):
        open_store("hdfs://namenode/run")
