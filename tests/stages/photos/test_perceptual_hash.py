"""Near hashes are found as by comparing all pairs; a duplicate's original is the largest of its kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.photos.perceptual_hash import near_groups, near_pairs, phash


def some_codes(seed, count=60):
    """A few hashes and others at up to nine flipped bits from them."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**63, 8, dtype=np.uint64)
    codes = []
    for _ in range(count):
        code = int(rng.choice(base))
        for bit in rng.integers(0, 64, rng.integers(0, 10)):
            code ^= 1 << int(bit)
        codes.append(code)
    return codes


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 6, 13]))
def test_pairs_are_all_pairs_within_the_limit(seed, limit):
    codes = sorted(set(some_codes(seed)))
    found = near_pairs(np.array(codes, np.uint64), limit)
    close = [(a, b) for b in range(len(codes)) for a in range(b) if (codes[a] ^ codes[b]).bit_count() <= limit]
    assert sorted(map(tuple, found.tolist())) == sorted(close)


@given(st.integers(0, 10_000), st.sampled_from([1, 6]), st.randoms())
def test_groups_go_by_size_and_not_by_order(seed, limit, shuffle):
    rng = np.random.default_rng(seed)
    items = [(f"{i:03d}", f"{code:016x}", int(rng.integers(1, 5))) for i, code in enumerate(some_codes(seed))]
    expected = {}
    ranked = sorted(items, key=lambda item: (-item[2], item[0]))
    for row, (key, code, _) in enumerate(ranked):
        near = [
            k for k, c, _ in ranked[:row] if k not in expected and (int(c, 16) ^ int(code, 16)).bit_count() <= limit
        ]
        if near:
            expected[key] = near[0]
    shuffle.shuffle(items)
    assert near_groups(items, limit) == expected


def test_nothing_has_no_groups():
    assert near_groups([], 6) == {}


def test_the_hash_of_a_smaller_copy_is_near():
    ramp = np.add.outer(np.arange(90), np.arange(140)).astype(np.uint8)
    ramp[20:50, 30:90] = 200
    small = ramp[::2, ::2]
    assert (int(phash(ramp), 16) ^ int(phash(small), 16)).bit_count() <= 6
    assert phash(ramp) == phash(ramp.copy()) and len(phash(ramp)) == 16
    assert int(phash(ramp), 16) != pytest.approx(int(phash(ramp[::-1]), 16))
