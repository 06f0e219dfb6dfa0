"""A lock on one shard: an owner and a heartbeat, so that two runs never write one shard and a dead owner never blocks it.

Every look-then-change of a lock happens under the store's guard, so that of two who find the same stale lock one gets it,
and nobody beats or removes a lock that is no longer his.
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
from typing import Any

from pipeline.core.errors import HeldError, RefusedError, StorageError
from pipeline.storage.base import Store


@dataclass(frozen=True)
class Pace:
    """Times of a lock, in seconds. patience: how long a live owner is waited for; now: the wall clock.

    stale: a lock of another machine is doubted when its beat and our clock are further apart than this, whichever is ahead;
    it is taken only after ``watch`` of our monotonic clock without a beat, so no jump of a clock ages a living owner's lock.
    """

    heartbeat: float = 10.0
    stale: float = 120.0
    watch: float = 25.0
    patience: float = 5.0
    settle: float = 1.0
    now: Callable[[], float] = time.time


PACE = Pace()


@dataclass
class Lock:
    """A lock that is held, until somebody who thought us dead takes it over."""

    store: Store
    path: str
    pace: Pace
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    lost: bool = False

    def check(self) -> None:
        """Raise RefusedError when the lock was taken over, as after a long sleep of this machine."""
        if self.lost or not self._mine():
            raise RefusedError(
                f"'{self.store.url}/{self.path}' was taken over by {_named(_read(self.store, self.path))} while this "
                "process slept: nothing of this shard was committed here; run the same command again"
            )

    def body(self) -> bytes:
        """What the lock says of its owner."""
        who = {"host": socket.gethostname(), "pid": os.getpid(), "place": _place(), "started": _started(os.getpid())}
        return json.dumps({**who, "token": self.token, "beat": self.pace.now()}).encode()

    def beat(self) -> None:
        """Say that the owner lives."""
        with self.store.guard(self.path):
            if self._mine():
                self.store.write(self.path, self.body())
            else:
                self.lost = True

    def release(self) -> None:
        """Remove the lock, if it is still ours."""
        with self.store.guard(self.path):
            if self._mine():
                self.store.remove(self.path)

    def _mine(self) -> bool:
        holder = _read(self.store, self.path)
        return holder is not None and holder.get("token") == self.token


@contextlib.contextmanager
def shard_lock(store: Store, stage: str, part: int | str, pace: Pace = PACE) -> Iterator[Lock]:
    """Hold a shard (or a step, by name) while the block runs.

    Raises HeldError, with the owner, when another live process holds it, StorageError when the disk will not have a lock.
    """
    name = f"{part:06d}" if isinstance(part, int) else part
    lock = Lock(store, f"locks/{stage.replace('/', '-')}-{name}.json", pace)
    _acquire(lock)
    released = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, released), daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        released.set()
        heart.join()
        with contextlib.suppress(StorageError, OSError):  # a disk that is gone has an error of its own to tell
            lock.release()


def living(store: Store, prefix: str, pace: Pace = PACE) -> Iterator[tuple[str, str]]:
    """(name, owner) of each lock whose name begins so and whose owner seems to live."""
    for name in store.names("locks"):
        if name.startswith(prefix) and name.endswith(".json"):
            holder = _read(store, f"locks/{name}")
            if holder is not None and not _is_dead(holder) and not _doubted(holder, pace):
                yield name.removesuffix(".json"), _named(holder)


def _acquire(lock: Lock) -> None:
    store, pace = lock.store, lock.pace
    deadline, pause = time.monotonic() + pace.patience, 0.05
    seen, since = None, time.monotonic()
    while True:
        holder = _read(store, lock.path)
        if holder != seen:
            seen, since = holder, time.monotonic()
        doubted = holder is not None and _doubted(holder, pace)
        if holder is None or _is_dead(holder) or (doubted and time.monotonic() - since > pace.watch):
            if _take(lock, holder):
                return
        elif not doubted and time.monotonic() > deadline:
            after = (
                "" if _is_here(holder) else f"; a dead one's lock is free {pace.stale:.0f} s after its last heartbeat"
            )
            raise HeldError(f"'{store.url}/{lock.path}' is held by {_named(holder)}: wait for it, or stop it{after}")
        time.sleep(pause)
        pause = min(2 * pause, 0.5)  # each look at a remote lock is a request that is paid for


def anybody_here(store: Store, pace: Pace = PACE) -> bool:
    """Whether a lock of the run directory has a living owner."""
    holders = (_read(store, f"locks/{name}") for name in store.names("locks"))
    return any(holder is not None and not _is_dead(holder) and not _doubted(holder, pace) for holder in holders)


def _take(lock: Lock, seen: dict[str, Any] | None) -> bool:
    """Put our lock where there was none, or in place of the stale one that was seen; False when another was quicker."""
    store = lock.store
    with store.guard(lock.path) as exclusive:
        if seen is None:
            if store.create(lock.path, lock.body()):
                return True
            if _read(store, lock.path) is not None:
                return False  # somebody's; otherwise it is torn, and as good as none
        elif _read(store, lock.path) != seen:
            return False
        store.write(lock.path, lock.body())
        if not exclusive:  # two may have come so far; the one who wrote last has it
            time.sleep(lock.pace.settle)
        return lock._mine()


def _read(store: Store, path: str) -> dict[str, Any] | None:
    try:
        holder = json.loads(store.read(path))
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _named(holder: dict[str, Any] | None) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}" if holder else "nobody"


def _is_dead(holder: dict[str, Any]) -> bool:
    """A process of this machine that is gone, or whose number another process has now."""
    if not _is_here(holder):
        return False
    pid = int(holder.get("pid", 0))
    started = _started(pid)
    return not _alive(pid) or started == "zombie" or holder.get("started", started) != started or _is_forgotten(holder)


def _is_forgotten(holder: dict[str, Any]) -> bool:
    """A lock with our own process number but without a token: of an earlier process, where numbers are few."""
    return holder.get("pid") == os.getpid() and "token" not in holder


def _doubted(holder: dict[str, Any], pace: Pace) -> bool:
    return not _is_here(holder) and abs(pace.now() - float(holder.get("beat", 0))) > pace.stale


def _is_here(holder: dict[str, Any]) -> bool:
    """Whether the owner's process number means something in this process: same machine, same start of it, same container."""
    return holder.get("host") == socket.gethostname() and holder.get("place", _place()) == _place()


def _place() -> str:
    """Which start of which machine and which process namespace this is; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in ticks of the machine and so free of clock jumps; ``zombie`` when it has ended unheard."""
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


def _beat(lock: Lock, released: threading.Event) -> None:
    while not released.wait(lock.pace.heartbeat):
        with contextlib.suppress(StorageError, OSError):  # a missed beat; the work itself will meet the disk's error
            lock.beat()
