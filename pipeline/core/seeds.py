"""Seeds and assignment by hash, independent of order, of the number of workers and of the machine."""

import hashlib
import json


def shard_of(key: str, shards: int) -> int:
    """The work shard of a photo: sha256(key) mod shards."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big") % shards


def seed_for(run_seed: int, stage: str, key: str, variant: int = 0) -> int:
    """A 63-bit seed for one sample of one stage: sha256(run seed, stage, key, variant)."""
    text = f"{run_seed}\x00{stage}\x00{key}\x00{variant}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def fraction_of(run_seed: int, purpose: str, key: str) -> float:
    """A uniform number in [0, 1) fixed by the key: for splits and shuffles by hash."""
    return seed_for(run_seed, purpose, key) / float(1 << 63)


def digest_of(value: object) -> str:
    """sha256 of a JSON value, independent of the order of its keys. Raises TypeError for what is no JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
