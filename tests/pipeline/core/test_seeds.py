"""Placement by hash: fixed for ever, spread evenly."""

from collections import Counter

from pipeline.core.seeds import digest_of, fraction_of, seed_for, shard_of


def test_values_never_change():
    """Changing these would move every sample of every existing run."""
    assert shard_of("0123456789abcdef01234567", 16) == 13
    assert seed_for(0, "outpaint", "k", 1) == 8196068209882915060
    assert digest_of({"b": 1, "a": [1, 2]}) == digest_of({"a": [1, 2], "b": 1})


def test_seeds_differ_by_each_part():
    base = seed_for(0, "outpaint", "key", 0)
    others = [seed_for(1, "outpaint", "key", 0), seed_for(0, "refine", "key", 0), seed_for(0, "outpaint", "kez", 0)]
    assert len({base, *others, seed_for(0, "outpaint", "key", 1)}) == 5
    assert all(0 <= seed < 1 << 63 for seed in others)


def test_keys_spread_over_shards():
    counts = Counter(shard_of(f"key{i}", 8) for i in range(4000))
    assert set(counts) == set(range(8))
    assert max(counts.values()) < 2 * min(counts.values())


def test_fractions_are_uniform():
    values = [fraction_of(0, "split", f"key{i}") for i in range(2000)]
    assert 0.45 < sum(values) / len(values) < 0.55
    assert min(values) >= 0 and max(values) < 1
