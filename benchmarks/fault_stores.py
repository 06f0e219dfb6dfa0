"""The stores that ``bench faults`` disturbs: a disk, an imitated NFS, an S3 server (moto), and an imitated HDFS.

Servers are those of the tests. On the imitated NFS, ``flock`` holds nobody, as after the lease of a machine that slept; a link
or rename may be made although its answer says that it was not; and listings may be old.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs import journal
from pipeline.storage import local, retry
from pipeline.storage.base import Store
from pipeline.storage.local import LocalStore
from pipeline.storage.open_store import open_store
from tests.s3_server import Faults, s3_server
from tests.webhdfs_server import Tree, webhdfs_server

LOCAL, NFS, S3, HDFS = "disk", "nfs", "s3", "hdfs"
STORES = (LOCAL, NFS, S3, HDFS)


class NfsStore(LocalStore):
    """A folder whose ``flock`` excludes nobody."""

    @contextmanager
    def guard(self, path: str) -> Iterator[bool]:
        self._make_parent(self.local(path))
        yield True


@dataclass
class System:
    """``os`` as the storage modules see it; faults: by function, what happens at its next calls."""

    faults: dict[str, list[str]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _next(self, name: str) -> str:
        left = self.faults.get(name, [])
        return left.pop(0) if left else ""

    def fsync(self, descriptor: int) -> None:
        """Full disk."""
        if self._next("fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # A test of order, not of platters: nothing here loses power.

    def link(self, source: Path, target: Path) -> None:
        """The answer to a link is lost, and its second sending meets the first's."""
        os.link(source, target)
        if self._next("link"):
            raise FileExistsError(errno.EEXIST, "sent twice", str(source))

    def replace(self, source: Path, target: Path) -> None:
        """The answer to a rename is lost, and its second sending finds no source."""
        os.replace(source, target)
        if self._next("replace"):
            raise FileNotFoundError(errno.ENOENT, "sent twice", str(source))


@dataclass
class Place:
    """Where the run directories of one kind of store are made.

    Args:
        kind: one of ``STORES``.
        root: path or URL below which they are.
        lose: make the answers of about every so manieth request be lost; 0 for none.
        refuse: refuse all writes, or none.
    """

    kind: str
    root: str
    lose: Callable[[int], None]
    refuse: Callable[[bool], None]

    def store(self, name: str) -> Store:
        """A run directory, as one process opens it."""
        if self.kind == NFS:
            return NfsStore(Path(self.root) / name)
        return open_store(f"{self.root}/{name}")


@contextmanager
def place_of(kind: str) -> Iterator[Place]:
    """The servers and folders of a kind of store, for as long as the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, attempts=4, first_wait_s=0.005, max_wait_s=0.02)
        )
        opened = {LOCAL: _folder, NFS: _folder, S3: _bucket, HDFS: _tree}[kind](patch, kind)
        with opened as place:
            yield place


@contextmanager
def _folder(patch: pytest.MonkeyPatch, kind: str) -> Iterator[Place]:
    system = System()
    patch.setattr(local, "os", system)
    patch.setattr(journal, "os", system)

    def lose(nth: int) -> None:
        often = ([""] * (nth - 1) + ["lost"]) * 9 if nth else []
        system.faults = {"link": list(often), "replace": list(often)}

    def refuse(yes: bool) -> None:
        system.faults = {"fsync": ["full"] * 1000} if yes else {}

    with tempfile.TemporaryDirectory(prefix="procrop-faults-") as folder:
        yield Place(kind, folder, lose, refuse)


@contextmanager
def _bucket(patch: pytest.MonkeyPatch, kind: str) -> Iterator[Place]:
    with s3_server(patch) as (_, faults, client):
        client.create_bucket(Bucket="faults")
        yield Place(kind, "s3://faults", lambda nth: _lose_s3(faults, nth), lambda yes: _refuse_s3(faults, yes))


def _lose_s3(faults: Faults, nth: int) -> None:
    faults.some(1 / nth, kinds=("lost", "reset", "error"), seed=nth) if nth else faults.none()


def _refuse_s3(faults: Faults, yes: bool) -> None:
    faults.spoil = lambda method, path: "error" if yes and method == "PUT" else ""


@contextmanager
def _tree(patch: pytest.MonkeyPatch, kind: str) -> Iterator[Place]:
    patch.setenv("FSSPEC_WEBHDFS_USER", "ann")
    with webhdfs_server() as (address, tree):
        yield Place(
            kind, f"webhdfs://{address}/faults", lambda nth: _lose_hdfs(tree, nth), lambda yes: _refuse_hdfs(tree, yes)
        )


def _lose_hdfs(tree: Tree, nth: int) -> None:
    if nth:
        tree.every(nth, "lost", "error")
    else:
        tree.spoil = lambda op, path: ""


def _refuse_hdfs(tree: Tree, yes: bool) -> None:
    tree.spoil = lambda op, path: "error" if yes and op == "CREATE" else ""
