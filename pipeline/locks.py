"""A lock on one shard: an owner and a heartbeat, so that two runs never write one shard and a dead owner never blocks it."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from pipeline.errors import RefusedError
from pipeline.storage import Store

HEARTBEAT_S = 10.0
STALE_S = 120.0
PATIENCE_S = 5.0


@contextlib.contextmanager
def shard_lock(store: Store, stage: str, shard: int) -> Iterator[None]:
    """Hold a shard while the block runs; raises RefusedError, with the owner, when another live process holds it."""
    path = f"locks/{stage.replace('/', '-')}-{shard:06d}.json"
    _acquire(store, path)
    released = threading.Event()
    beat = threading.Thread(target=_beat, args=(store, path, released), daemon=True)
    beat.start()
    try:
        yield
    finally:
        released.set()
        beat.join()
        store.remove(path)


def _owner() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()}


def _acquire(store: Store, path: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not store.create(path, json.dumps(_owner()).encode()):
        holder = _read(store, path)
        if holder is not None and _is_stale(holder):
            store.remove(path)
        elif time.monotonic() > deadline and holder is not None:
            raise RefusedError(
                f"'{store.url}/{path}' is held by process {holder['pid']} on {holder['host']}: wait for it, or stop it"
            )
        else:
            time.sleep(0.1)


def _read(store: Store, path: str) -> dict[str, Any] | None:
    try:
        holder: dict[str, Any] = json.loads(store.read(path))
    except (FileNotFoundError, ValueError):
        return None
    return holder


def _is_stale(holder: dict[str, Any]) -> bool:
    """A dead process of this machine, or one elsewhere whose heart stopped. A clock that jumped back cannot age a lock."""
    if holder.get("host") == socket.gethostname():
        return not _alive(int(holder.get("pid", 0))) or holder.get("pid") == os.getpid()
    return time.time() - float(holder.get("beat", 0)) > STALE_S


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _beat(store: Store, path: str, released: threading.Event) -> None:
    while not released.wait(HEARTBEAT_S):
        store.write(path, json.dumps(_owner()).encode())
