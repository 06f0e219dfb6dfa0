"""Samples that kill their worker process: listed beside the journal until the shard is committed, so that they run once."""

import json
from collections.abc import Mapping
from typing import TypedDict

from pipeline.core.stage import FAILED, Outcome
from pipeline.storage.base import Store

CRASHED = "crashed"


class _CrashList(TypedDict):
    identity: str
    samples: dict[str, str]


def crashed_path(stage: str, shard: int) -> str:
    """Path of the crash list of an unfinished shard."""
    return f"{stage}/journal/{shard:06d}.crashed.json"


def read_crashed(store: Store, stage: str, shard: int, identity: str) -> dict[str, str]:
    """Key -> how the process died, of samples that must not be run. identity: fingerprint of the shard, as for its journal."""
    try:
        body: _CrashList = json.loads(store.read(crashed_path(stage, shard)))
    except (FileNotFoundError, ValueError):
        return {}
    return dict(body["samples"]) if body.get("identity") == identity else {}


def add_crashed(store: Store, stage: str, shard: int, identity: str, samples: Mapping[str, str]) -> None:
    """Add samples to the crash list of a shard."""
    known = {**read_crashed(store, stage, shard, identity), **samples}
    body = {"identity": identity, "samples": known}
    store.write(crashed_path(stage, shard), json.dumps(body, sort_keys=True).encode())


def outcome_of(key: str, death: str) -> Outcome:
    """The outcome of a listed sample: a failure, so that ``--retry-failed --reason crashed`` runs it again."""
    return Outcome(key, FAILED, CRASHED, f"its process died ({death}) each time it worked on this sample alone")
