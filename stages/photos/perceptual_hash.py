"""64-bit perceptual hashes (DCT, Zauner 2010) and the groups of pictures that they call the same."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

BITS = 64
BLOCK = 256


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
    """Pairs [M, 2] of rows whose distinct codes [N] differ in at most ``limit`` bits, each once.

    Of limit + 1 bands of bits at least one is equal in such a pair, so only codes that share a band are compared.
    """
    edges = np.linspace(0, BITS, limit + 2).astype(int)
    matches = []
    for low, high in itertools.pairwise(edges.tolist()):
        band = (codes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order[:1]] + np.uint64(1)))
        for rows in np.split(order, starts[1:]):
            matches += _within(codes, rows, limit)
    pairs = np.concatenate([np.zeros((0, 2), np.intp), *matches])
    return np.unique(pairs, axis=0)


def _within(codes: NDArray[np.uint64], rows: NDArray[np.intp], limit: int) -> list[NDArray[np.intp]]:
    """Near pairs among some rows, ascending, compared block with block: memory does not grow with their number."""
    matches = []
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    for number, block in enumerate(blocks):
        for other in blocks[number:]:
            distances = np.bitwise_count(codes[block][:, None] ^ codes[other])  # [BLOCK, BLOCK]
            a, b = np.nonzero(distances <= limit)
            ordered = block[a] < other[b]
            if ordered.any():
                matches.append(np.stack([block[a][ordered], other[b][ordered]], axis=1))
    return matches
