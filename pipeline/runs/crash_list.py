"""Samples that kill the process that works on them: found once, remembered beside the shard until it is committed."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.stage import FAILED, Outcome
from pipeline.storage.base import Store

CRASHED = "crashed"


def crashed_path(stage: str, shard: int) -> str:
    """Where the deadly samples of a shard in the making are listed."""
    return f"{stage}/journal/{shard:06d}.crashed.json"


def read_crashed(store: Store, stage: str, shard: int, identity: str) -> dict[str, str]:
    """Key -> how its process died, of samples that must not be worked on. identity: of the shard, as its journal's."""
    try:
        body: dict[str, Any] = json.loads(store.read(crashed_path(stage, shard)))
    except (FileNotFoundError, ValueError):
        return {}
    return dict(body["samples"]) if body.get("identity") == identity else {}


def add_crashed(store: Store, stage: str, shard: int, identity: str, samples: Mapping[str, str]) -> None:
    """Remember more deadly samples of a shard."""
    known = {**read_crashed(store, stage, shard, identity), **samples}
    body = {"identity": identity, "samples": known}
    store.write(crashed_path(stage, shard), json.dumps(body, sort_keys=True).encode())


def outcome_of(key: str, death: str) -> Outcome:
    """The row of a deadly sample: a failure, so that ``--retry-failed --reason crashed`` tries it again."""
    return Outcome(key, FAILED, CRASHED, f"its process died ({death}) each time it worked on this sample alone")
