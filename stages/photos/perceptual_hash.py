"""64-bit perceptual hashes (DCT, Zauner 2010) and the groups of pictures that they call the same."""

import itertools
from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

BITS = 64
MORE_BANDS = 4  # beyond the bits that may differ: C(10, 6) = 210 sorts at most for the default of 6
SORT_COST = 12  # time to sort a code, in comparisons of two codes (measured: 120 against 10 ns)


def phash(gray: NDArray[np.uint8]) -> str:
    """16 hex digits: signs of the 8 x 8 lowest frequencies of a 32 x 32 version against their median.

    gray: uint8 [H, W]. Robust to resizing, re-encoding and small colour changes.
    """
    small = Image.fromarray(gray).resize((32, 32), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, np.float64), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low)
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def near_groups(items: Sequence[tuple[str, str, int]], limit: int) -> dict[str, str]:
    """For each duplicate the key of its original; items: (key, hash, pixels). See ``near_originals``."""
    keys = np.array([key.encode() for key, _, _ in items], np.bytes_)
    codes = np.array([int(code, 16) for _, code, _ in items], np.uint64)
    matches = near_originals(keys, codes, np.array([pixels for _, _, pixels in items], np.int64), limit)
    return {items[row][0]: items[other][0] for row, other in enumerate(matches.tolist()) if other != row}


def near_originals(
    keys: NDArray[np.bytes_], codes: NDArray[np.uint64], pixels: NDArray[np.int64], limit: int
) -> NDArray[np.intp]:
    """For each picture [N] the row of its original, the largest of its kind (ties: smallest key), or its own row.

    limit: hashes (codes) that differ in at most so many bits are one picture.
    """
    order = np.lexsort((keys, -pixels))
    unique, first, which = np.unique(codes[order], return_index=True, return_inverse=True)
    originals = np.empty_like(order)
    originals[order] = order[_originals(first, near_pairs(unique, limit))[which]]
    return originals


def _originals(first: NDArray[np.intp], near: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each code the first row of the code that it is a duplicate of, or its own.

    first [N]: the first row of each code; near [M, 2]: codes that are near. Going by first rows, a code is an original
    unless one near it was made an original before.
    """
    later = np.where(first[near[:, 0]] > first[near[:, 1]], near[:, 0], near[:, 1])
    earlier = near.sum(axis=1) - later
    out = first.copy()
    for a, b in sorted(zip(later.tolist(), earlier.tolist(), strict=True), key=lambda p: (first[p[0]], first[p[1]])):
        if out[b] == first[b] and out[a] == first[a]:
            out[a] = first[b]
    return out


def near_pairs(codes: NDArray[np.uint64], limit: int) -> NDArray[np.intp]:
    """Pairs [M, 2] of rows whose distinct codes [N] differ in at most ``limit`` bits, each once, the lesser row first.

    Codes are cut into bands of bits. In such a pair at most ``limit`` bands differ, so some choice of all but ``limit`` of them is
    equal in both, and only codes that are equal in a choice are compared.
    """
    matches = [np.zeros((0, 2), np.intp)]
    for mask in _choices_of_bands(len(codes), limit):
        kept = codes & mask
        order = np.argsort(kept, kind="stable")
        kept = kept[order]
        first, step = np.arange(len(codes)), 1
        while len(first := first[: np.searchsorted(first, len(codes) - step)]):
            first = first[kept[first] == kept[first + step]]  # those with so many more of the same to the right
            a, b = order[first], order[first + step]
            near = np.bitwise_count(codes[a] ^ codes[b]) <= limit
            matches.append(np.sort(np.stack([a[near], b[near]], axis=1), axis=1))
            step += 1
    return np.unique(np.concatenate(matches), axis=0)


def _choices_of_bands(count: int, limit: int) -> list[np.uint64]:
    """Masks of bits for ``near_pairs``, with as many bands as cost least for so many codes: sorts of all, and comparisons."""

    def cost(bands: int) -> float:
        equal = BITS * (bands - limit) / bands  # bits of a mask
        return comb(bands, limit) * (SORT_COST * count + count**2 / 2 ** (equal + 1))

    bands = min(range(limit + 1, min(BITS, limit + MORE_BANDS) + 1), key=cost)
    edges = np.linspace(0, BITS, bands + 1).astype(int).tolist()
    masks = [((1 << (high - low)) - 1) << low for low, high in itertools.pairwise(edges)]
    return [np.uint64(sum(chosen)) for chosen in itertools.combinations(masks, bands - limit)]
