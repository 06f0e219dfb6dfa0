"""Locks on shards, with owner and heartbeat: two runs never write one shard, and a dead owner does not block it.

Every read-then-write of a lock happens under the store's guard: of two processes that see the same stale lock one takes it, and
no process renews or removes a lock that it no longer owns.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from pipeline.core.errors import HeldError, RefusedError, StorageError
from pipeline.storage.base import Store


@dataclass(frozen=True)
class LockTiming:
    """Times of a lock, in seconds.

    Args:
        heartbeat: between two heartbeats of an owner.
        stale: a lock of another machine is suspected dead when its last heartbeat and our clock differ by more, in either
            direction.
        watch: a suspected lock is taken over only after this long, by our monotonic clock, without a new heartbeat: a clock
            that jumps does not make a live owner's lock look dead. More than two heartbeats, so that one may be missed.
        timeout: how long to wait for a live owner before HeldError.
        settle: wait before a lock is read back where the store cannot guarantee a single writer.
        now: the wall clock.
    """

    heartbeat: float = 10.0
    stale: float = 120.0
    watch: float = 25.0
    timeout: float = 5.0
    settle: float = 1.0
    now: Callable[[], float] = time.time


class Holder(TypedDict, total=False):
    """The JSON of a lock file: who holds it. Fields may be missing in locks of older versions."""

    host: str
    pid: int
    place: str
    started: str
    token: str
    beat: float


LOCK_TIMING = LockTiming()


@dataclass
class Lock:
    """A lock that this process holds, unless another process took it for dead and took it over.

    Args:
        store: of the run directory.
        path: of the lock file, relative to it.
        timing: heartbeat and timeouts.
        token: identifies this owner.
        lost: whether another process has taken the lock over.
    """

    store: Store
    path: str
    timing: LockTiming
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    lost: bool = False

    def check(self) -> None:
        """Raise RefusedError when the lock was taken over, as after a long sleep of this machine."""
        if self.lost or not self.is_ours():
            raise RefusedError(
                f"'{self.store.url}/{self.path}' was taken over by {_owner(_read(self.store, self.path))} while this "
                "process slept: nothing of this shard was committed here; run the same command again"
            )

    def check_soon(self) -> None:
        """As ``check``, where each look at the lock is cheap; on a remote store, by what the last heartbeat found."""
        if self.lost or self.store.local_root is not None:
            self.check()

    def body(self) -> bytes:
        """The bytes of the lock file, with a new heartbeat."""
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "place": _place(), "started": _started(os.getpid())}
        return json.dumps({**owner, "token": self.token, "beat": self.timing.now()}).encode()

    def beat(self) -> None:
        """Write a heartbeat; note when the lock was taken over."""
        with self.store.guard(self.path):
            etag = self.store.etag(self.path)
            self.lost = not (self.is_ours() and self.store.replace_if(self.path, self.body(), etag))

    def release(self) -> None:
        """Remove the lock, if it is still ours."""
        with self.store.guard(self.path):
            etag = self.store.etag(self.path)
            if self.is_ours():
                self.store.remove_if(self.path, etag)

    def is_ours(self) -> bool:
        """Whether the lock file still names this owner."""
        holder = _read(self.store, self.path)
        return holder is not None and holder.get("token") == self.token


@contextlib.contextmanager
def shard_lock(store: Store, stage: str, part: int | str, timing: LockTiming = LOCK_TIMING) -> Iterator[Lock]:
    """Hold a shard while the block runs.

    Args:
        store: of the run directory.
        stage: name of the stage.
        part: number of the shard, or name of a run-level step.
        timing: heartbeat and timeouts.

    Raises HeldError, with the owner, when another live process holds it, StorageError when the lock cannot be written.
    """
    name = f"{part:06d}" if isinstance(part, int) else part
    lock = Lock(store, f"locks/{stage.replace('/', '-')}-{name}.json", timing)
    _acquire(lock)
    released = threading.Event()
    heartbeat = threading.Thread(target=_send_heartbeats, args=(lock, released), daemon=True)
    heartbeat.start()
    try:
        yield lock
    finally:
        released.set()
        heartbeat.join()
        with contextlib.suppress(StorageError, OSError):  # a lost disk raises its own error elsewhere
            lock.release()


def live_locks(store: Store, prefix: str, timing: LockTiming = LOCK_TIMING) -> Iterator[tuple[str, str]]:
    """(name, owner) of each lock whose name starts with ``prefix`` and whose owner seems alive."""
    for name in store.names("locks"):
        if name.startswith(prefix) and name.endswith(".json"):
            holder = _read(store, f"locks/{name}")
            if holder is not None and not _is_dead(holder) and not _is_suspect(holder, timing):
                yield name.removesuffix(".json"), _owner(holder)


def _acquire(lock: Lock) -> None:
    store, timing = lock.store, lock.timing
    deadline, pause = time.monotonic() + timing.timeout, 0.05
    seen, since = None, time.monotonic()
    while True:
        holder = _read(store, lock.path)
        if holder != seen:
            seen, since = holder, time.monotonic()
        suspect = holder is not None and _is_suspect(holder, timing)
        if holder is None or _is_dead(holder) or (suspect and time.monotonic() - since > timing.watch):
            if _take(lock, holder):
                return
        elif not suspect and time.monotonic() > deadline:
            after = (
                "" if _is_here(holder) else f"; a dead one's lock is free {timing.stale:.0f} s after its last heartbeat"
            )
            raise HeldError(f"'{store.url}/{lock.path}' is held by {_owner(holder)}: wait for it, or stop it{after}")
        time.sleep(pause)
        pause = min(2 * pause, 0.5)  # each read of a remote lock is a paid request


def has_live_lock(store: Store, timing: LockTiming = LOCK_TIMING) -> bool:
    """Whether any lock of the run directory has a live owner."""
    holders = (_read(store, f"locks/{name}") for name in store.names("locks"))
    return any(holder is not None and not _is_dead(holder) and not _is_suspect(holder, timing) for holder in holders)


def _take(lock: Lock, seen: Holder | None) -> bool:
    """Write our lock where there was none, or over the stale one that was ``seen``; False when another process was first."""
    store = lock.store
    with store.guard(lock.path) as exclusive:
        if seen is None and store.create(lock.path, lock.body()):
            return True
        etag = store.etag(lock.path)
        if _read(store, lock.path) != seen:  # an unreadable lock counts as none
            return False
        if not store.replace_if(lock.path, lock.body(), etag):
            return False
        if not (exclusive or etag):  # two processes may get here; the last writer has the lock
            time.sleep(lock.timing.settle)
        return lock.is_ours()


def _read(store: Store, path: str) -> Holder | None:
    try:
        holder: Holder = json.loads(store.read(path))
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _owner(holder: Holder | None) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}" if holder else "nobody"


def _is_dead(holder: Holder) -> bool:
    """Whether the owner is a process of this machine that has ended; its process id may have been used again."""
    if not _is_here(holder):
        return False
    pid = int(holder.get("pid", 0))
    started = _started(pid)
    return (
        not _alive(pid)
        or started == "zombie"
        or (bool(started) and holder.get("started", started) != started)  # hidden where /proc is closed to others
        or _is_of_earlier_process(holder)
    )


def _is_of_earlier_process(holder: Holder) -> bool:
    """Whether an earlier process with our process id left the lock: it has no token (containers reuse few ids)."""
    return holder.get("pid") == os.getpid() and "token" not in holder


def _is_suspect(holder: Holder, timing: LockTiming) -> bool:
    """Whether the owner is on another machine and its last heartbeat is too far from our clock."""
    return not _is_here(holder) and abs(timing.now() - float(holder.get("beat", 0))) > timing.stale


def _is_here(holder: Holder) -> bool:
    """Whether the owner's process id is valid here: same machine, same boot, same process namespace."""
    return holder.get("host") == socket.gethostname() and holder.get("place", _place()) == _place()


def _place() -> str:
    """Boot id and process namespace of this machine; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot (no clock jump changes it); ``zombie`` when it has ended unreaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "zombie" if fields[0] == "Z" else fields[19]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _send_heartbeats(lock: Lock, released: threading.Event) -> None:
    while not released.wait(lock.timing.heartbeat):
        with contextlib.suppress(
            StorageError, OSError
        ):  # a missed heartbeat; the work itself will meet the disk's error
            lock.beat()
