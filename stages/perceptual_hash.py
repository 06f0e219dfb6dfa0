"""64-bit perceptual hashes (DCT, Zauner 2010) and the groups of pictures that they call the same."""

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

BITS = 64


def phash(gray: NDArray[np.uint8]) -> str:
    """16 hex digits: signs of the 8 x 8 lowest frequencies of a 32 x 32 version against their median.

    gray: uint8 [H, W]. Robust to resizing, re-encoding and small colour changes.
    """
    small = Image.fromarray(gray).resize((32, 32), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, np.float64), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low)
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def near_groups(items: Sequence[tuple[str, str, int]], limit: int) -> dict[str, str]:
    """For each duplicate the key of its original, which is the largest picture of its kind (ties: smallest key).

    items: (key, hash, pixels). limit: hashes that differ in at most so many bits are one picture.
    """
    if not items:
        return {}
    order = sorted(items, key=lambda item: (-item[2], item[0]))
    codes = np.array([list(bytes.fromhex(code)) for _, code, _ in order], dtype=np.uint8)
    index = faiss.IndexBinaryFlat(BITS)
    index.add(codes)
    starts, _, hits = index.range_search(codes, limit + 1)  # faiss finds distances strictly below the radius
    found: dict[str, str] = {}
    for row, (key, _, _) in enumerate(order):
        earlier = [int(hit) for hit in hits[starts[row] : starts[row + 1]] if hit < row and order[hit][0] not in found]
        if earlier:
            found[key] = order[min(earlier)][0]
    return found
