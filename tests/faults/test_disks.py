"""Disks that are full, read-only or go away in the middle: one line, exit code 4, and a rerun that goes on."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.core.errors import DamagedDataError, StorageError
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.storage.local import LocalStore
from pipeline.storage.locks import shard_lock
from stages.photos.source_readers import read_source
from tests.faults.poison import Poisoned, do, run_in


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A disk of one megabyte; skipped where this process may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount") or not mount("-t", "tmpfs", "-o", "size=1m", "none", place):
        pytest.skip("mounting is not permitted here")
    yield place
    with contextlib.suppress(OSError):
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def one_line(error):
    assert (
        error.exit_code == 4
        and "\n" not in str(error)
        and "run the same command again" in str(error).replace("\n", " ")
    )


class Large(Poisoned):
    """Half a megabyte a micro-batch."""

    def _one(self, task):
        outcome = super()._one(task)
        return type(outcome).kept(outcome.record, {"jpg": bytes([task.payload]) * 130_000})


def test_a_full_disk_is_one_line_and_a_larger_one_lets_it_go_on(disk, tmp_path):
    stage = Large(images=True)
    run = run_in(disk / "work")
    with pytest.raises(StorageError, match="No space left") as caught:
        run_shard(stage, run, 0, Control())
    one_line(caught.value)
    assert list((disk / "work/locks").iterdir()) == [] and list(disk.rglob("*.partial.*")) == []
    assert not (disk / "work/poisoned/000000.receipt.json").exists()
    (journal,) = (disk / "work/poisoned/journal").glob("000000-*.jsonl")
    assert len(journal.read_bytes().splitlines()) > 1
    assert mount("-o", "remount,size=8m", disk)
    receipt = run_shard(stage, run_in(disk / "work"), 0, Control())
    assert receipt.outputs == run_shard(stage, run_in(tmp_path / "roomy"), 0, Control()).outputs


def test_a_disk_that_turns_read_only(disk):
    run = run_in(disk / "work")
    receipt = run_shard(Poisoned(images=True), run, 0, Control())
    assert mount("-o", "remount,ro", disk)
    assert run_in(disk / "work").receipt("poisoned", 0) == receipt  # what is done can be read
    with pytest.raises(StorageError, match="Read-only file system") as caught:
        run_shard(Poisoned(images=True), run, 1, Control())
    one_line(caught.value)


class Unmounting(Poisoned):
    """Takes the disk away while it works."""

    disk = ""

    def run(self, tasks, shard):
        if self.disk:
            subprocess.run(["umount", "-l", self.disk], check=True)
            self.disk = ""
        return super().run(tasks, shard)


@pytest.mark.parametrize("images", [False, True])
def test_a_lost_disk_is_named_and_its_mount_point_stays_empty(disk, images):
    stage = Unmounting(images=images)
    stage.disk = str(disk)
    (disk / "work").mkdir()
    with pytest.raises(StorageError, match="is gone: its disk was unmounted") as caught:
        run_shard(stage, run_in(disk / "work"), 0, Control())
    one_line(caught.value)
    assert list(disk.iterdir()) == []


def test_workers_started_after_the_disk_went_away_know_it(disk):
    """The pickled store remembers which folder of which disk it was."""
    run = run_in(disk)
    do(Poisoned(), disk, shards=[0])
    subprocess.run(["umount", "-l", disk], check=True)
    for touch in (lambda: run.receipts("poisoned"), lambda: run.store.write("x", b""), lambda: run.store.exists("y")):
        with pytest.raises(StorageError, match="is gone"):
            touch()
    assert list(disk.iterdir()) == []


def test_a_run_directory_that_was_moved_away_is_not_made_anew(tmp_path):
    store = LocalStore(tmp_path / "work")
    store.write("x", b"1")
    (tmp_path / "work").rename(tmp_path / "elsewhere")
    for touch in (lambda: store.read("x"), lambda: store.write("x", b"2"), lambda: store.names("")):
        with pytest.raises(StorageError, match="is gone"):
            touch()
    with pytest.raises(StorageError), shard_lock(store, "s", 0):
        pass
    assert not (tmp_path / "work").exists()


def test_one_lost_photograph_is_a_reject_all_lost_stop_the_run(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").touch()
    with pytest.raises(FileNotFoundError):
        read_source(str(folder), "b.jpg")
    (folder / "a.jpg").unlink()
    with pytest.raises(StorageError, match="bring it back"):  # an empty mount point
        read_source(str(folder), "a.jpg")
    folder.rmdir()
    with pytest.raises(StorageError, match="bring it back"):
        read_source(str(folder), "a.jpg")


class Reader(Poisoned):
    """Made from the images of another stage."""

    name, upstream = "reader", ("poisoned",)

    def _one(self, task):
        assert len(self.shard.image("poisoned", task.key)) == 300
        return super()._one(task)

    def run(self, tasks, shard):
        self.shard = shard
        return super().run(tasks, shard)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 2000)])
def test_lost_upstream_bytes_are_damage_and_no_samples_fault(tmp_path, damage):
    run = run_in(tmp_path / "work")
    run_shard(Poisoned(images=True), run, 0, Control())
    damage(tmp_path / "work/poisoned/000000.tar")
    with pytest.raises(DamagedDataError, match=r"000000\.tar.*verify"):
        run_shard(Reader(), run, 0, Control())
    assert not (tmp_path / "work/reader").exists() or list((tmp_path / "work/reader").rglob("*.*")) == []
