"""Stores: whole files or none, one winner, one line when the disk will not have it."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core.errors import RefusedError, StorageError, UsageError
from pipeline.storage.local import LocalStore
from pipeline.storage.open_store import open_store


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return open_store(str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}")


def test_write_read_replace_list_move_remove(store):
    store.write("a/x.bin", b"one")
    store.write("a/x.bin", b"three")
    assert store.read("a/x.bin") == b"three"
    assert store.read_range("a/x.bin", 1, 2) == b"hr"
    assert store.size("a/x.bin") == 5
    assert store.names("a") == ["x.bin"] and store.names("nowhere") == []
    store.move("a", "b/c")
    assert not store.exists("a/x.bin") and store.read("b/c/x.bin") == b"three"
    store.remove("b")
    assert not store.exists("b/c/x.bin")
    store.remove("b")


def test_missing_files_are_missing(store):
    with pytest.raises(FileNotFoundError):
        store.read("no/such")


OUTSIDE = ["../victim", "a/../../victim", "/etc/hostname", "~/x", "a/..", "..", "a\0b", "a\\..\\b"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_outside_of_the_root_is_refused(store, path, tmp_path):
    (tmp_path / "victim").write_bytes(b"mine")
    store.write("a/x", b"1")
    calls = [
        lambda: store.read(path), lambda: store.read_range(path, 0, 1), lambda: store.write(path, b"x"),
        lambda: store.create(path, b"x"), lambda: store.adopt(tmp_path / "victim", path), lambda: store.size(path),
        lambda: store.copy_in(tmp_path / "victim", path), lambda: store.exists(path), lambda: store.names(path),
        lambda: store.remove(path), lambda: store.move(path, "b"), lambda: store.move("a/x", path),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(RefusedError, match="leads outside of the run directory"):
            call()
    assert (tmp_path / "victim").read_bytes() == b"mine" and store.read("a/x") == b"1"


@pytest.mark.parametrize("path", ["", ".", "./"])
def test_a_run_directory_is_not_removed_as_a_whole(store, path):
    store.write("a/x", b"1")
    for call in (lambda: store.remove(path), lambda: store.move(path, "b")):
        with pytest.raises(RefusedError, match="itself"):
            call()
    assert store.read("a/x") == b"1"


def test_create_has_one_winner(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("receipt", b"%d" % i), range(8)))
    if store.local_root is not None:  # the memory file system has no lock of its own
        assert won.count(True) == 1
        assert store.read("receipt") == b"%d" % won.index(True)
    assert not store.create("receipt", b"late")


def test_local_root_and_scratch_folder(store, tmp_path):
    """A local run keeps unfinished files on its own disk; a remote one in a folder of this machine that a restart finds again."""
    scratch = store.scratch_folder()
    if store.local_root is None:
        assert scratch.is_relative_to(tempfile.gettempdir()) and scratch == open_store(store.url).scratch_folder()
    else:
        assert store.local_root == scratch == tmp_path / "run"


def test_no_partial_files_stay(tmp_path):
    store = LocalStore(tmp_path)
    store.write("x", b"1")
    store.create("x", b"2")
    store.create("y", b"3")
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "work").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        open_store(str(tmp_path / "work"))
    with pytest.raises(StorageError, match=r"cannot write .* run the same command again"):
        LocalStore(tmp_path).write("work/sub/x", b"1")


def test_an_unknown_protocol_is_one_line():
    with pytest.raises(UsageError, match=r"cannot open 'nosuch://bucket/run'.*protocols are s3://"):
        open_store("nosuch://bucket/run")


def test_a_prepared_scratch_folder_is_not_used(tmp_path, monkeypatch):
    """Another user may have made it, in a folder that all write to: a link there was once followed, and its target truncated."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / f"procrop-journal-{os.getuid()}"
    (tmp_path / "theirs").mkdir(mode=0o755)
    mine.symlink_to(tmp_path / "theirs")
    with pytest.raises(StorageError, match="a link or belongs to another user"):
        open_store("memory://scratch").scratch_folder()
    mine.unlink()
    mine.mkdir(mode=0o777)
    mine.chmod(0o777)
    assert open_store("memory://scratch").scratch_folder().parent == mine and mine.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "procrop-journal-12345").mkdir()
    with pytest.raises(StorageError, match="another user"):
        open_store("memory://scratch").scratch_folder()


def test_a_link_whose_answer_was_lost_is_ours(tmp_path, monkeypatch):
    """NFS makes the link, loses its answer and tries again: the name exists then, and is ours."""
    store, link = open_store(str(tmp_path / "run")), os.link

    def lossy(source, target):
        link(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", lossy)
    assert store.create("a/lock", b"mine")
    (tmp_path / "run" / "local").write_bytes(b"tar")
    assert store.create_from(tmp_path / "run" / "local", "a/tar", move=True)
    monkeypatch.setattr(os, "link", link)
    assert not store.create("a/lock", b"other") and store.read("a/lock") == b"mine"
    assert store.names("a") == ["lock", "tar"]


def test_a_rename_whose_answer_was_lost_was_made(tmp_path, monkeypatch):
    """NFS renames, loses its answer and tries again: the temporary name is gone then, and the file is in place."""
    store, replace = open_store(str(tmp_path / "run")), os.replace
    store.write("a/x", b"one")

    def lossy(source, target):
        replace(source, target)
        raise FileNotFoundError(source)

    monkeypatch.setattr(os, "replace", lossy)
    store.write("a/x", b"two")
    store.move("a/x", "b/x")
    assert store.read("b/x") == b"two" and store.names("a") == []
    monkeypatch.setattr(os, "replace", lambda source, target: os.unlink(source) or replace(source, target))
    with pytest.raises(FileNotFoundError):
        store.write("b/x", b"three")
    assert store.read("b/x") == b"two"


def test_a_rival_that_goes_away_leaves_the_name(tmp_path, monkeypatch):
    """The owner of a lock releases it between our create, which finds it, and our look at it."""
    store = open_store(f"memory://{tmp_path.name}")
    pipe, refused = store._fs.pipe_file, []

    def once(path, data, mode="overwrite"):
        if mode == "create" and not refused:
            refused.append(path)
            raise FileExistsError(path)
        return pipe(path, data, mode=mode)

    monkeypatch.setattr(store._fs, "pipe_file", once)
    assert store.create("locks/a.json", b"mine") and refused
    assert store.create("locks/a.json", b"mine")  # our own, whose answer was lost
    assert not store.create("locks/a.json", b"other")
