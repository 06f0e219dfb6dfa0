"""Which pictures are edits of one photograph: by perceptual hash, by vector, and by one being a part of the other.

The thresholds were set on the bundled photographs and edits of them; ``procrop-data bench near-duplicates`` prints how many edits
they find and how many different photographs they confuse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.records import Signature
from pipeline.core.release_memory import give_back
from stages.near_duplicates.signatures import Signatures
from stages.near_duplicates.vector_pairs import VectorPairs, unit_rows
from stages.photos.perceptual_hash import near_pairs, phash

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
THUMB = 32  # pixels a side of the gray thumbnail in a signature
# Hashes this close are one picture, whatever their vectors: re-encoded, resized, squeezed or recoloured.
SURE_BITS = 6
# A close vector and a hash that is at least related: rotations and small crops. Unrelated hashes are 32 bits apart.
NEAR_COSINE, NEAR_BITS = 0.9, 16
# A similar vector, and one thumbnail that is a part of the other: crops. Each alone confuses pictures of the sky.
PART_COSINE, PART_MATCH = 0.8, 0.92
# Sides of the part, in pixels of the whole's thumbnail, that are tried; a smaller part is too coarse to tell.
PART_SIDES = range(18, THUMB + 1)
# Pairs that are compared for parts, at most, the most similar first: this limits the time.
MOST_PARTS = 2_000


@dataclass(frozen=True)
class Similarity:
    """Similarity of two pictures.

    Args:
        bits: in which their hashes differ, the less of one picture mirrored and not.
        cosine: of their vectors.
        match: correlation of one thumbnail with the best part of the other; 0 where it was not computed.
    """

    bits: int
    cosine: float
    match: float = 0.0


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs (i, j), i < j, that are one photograph.

    Args:
        unchecked: pairs left out of the search for parts by its bound.
        recall: share of the close vectors that the search finds, measured on a sample; 1 for an exact search.
    """

    pairs: dict[tuple[int, int], Similarity]
    unchecked: int
    recall: float = 1.0


def signature_of(key: str, uri: str, split: str, image: NDArray[np.uint8], vector: Floats) -> Signature:
    """What a picture is recognised by. image: uint8 RGB [H, W, 3]; vector: [D] of an encoder."""
    gray = np.asarray(Image.fromarray(image).convert("L"))
    thumb = Image.fromarray(gray).resize((THUMB, THUMB), Image.Resampling.LANCZOS)
    return Signature(
        key=key,
        uri=uri,
        split=split,
        pixels=image.shape[0] * image.shape[1],
        phash=phash(gray),
        mirrored=phash(np.ascontiguousarray(gray[:, ::-1])),
        thumb=thumb.tobytes(),
        vector=vector.astype(np.float16).tobytes(),
    )


def find_similar(signatures: Signatures) -> SimilarPairs:
    """All pairs of one photograph among pictures; the same pictures in the same order give the same answer."""
    if len(signatures) < 2:
        return SimilarPairs({}, 0)
    codes, mirrored, vectors = signatures.codes, signatures.mirrored, signatures.vectors
    pairs: dict[tuple[int, int], Similarity] = {}
    open_pairs = _Closest(MOST_PARTS)
    search = VectorPairs(vectors, PART_COSINE)
    for i, j in chain([_close_hashes(codes, mirrored)], search.pairs()):
        cosine = np.einsum("nd,nd->n", unit_rows(vectors[i]), unit_rows(vectors[j]))
        bits = np.minimum(_distance(codes[i], codes[j]), _distance(mirrored[i], codes[j]))
        same = (bits <= SURE_BITS) | ((cosine >= NEAR_COSINE) & (bits <= NEAR_BITS))
        for n in np.flatnonzero(same):
            pairs[int(i[n]), int(j[n])] = Similarity(int(bits[n]), round(float(cosine[n]), 4))
        maybe = ~same & (cosine >= PART_COSINE)
        open_pairs.add(i[maybe], j[maybe], cosine[maybe], bits[maybe])
    for a, b, near, apart in open_pairs.best():
        match = part_match(signatures.row(a).thumb, signatures.row(b).thumb)
        if match >= PART_MATCH:
            pairs[a, b] = Similarity(apart, round(near, 4), round(match, 4))
    return SimilarPairs(pairs, open_pairs.dropped, search.recall)


class _Closest:
    """The most similar of many pairs, never more in memory than twice as many as asked."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows = np.zeros((0, 4))
        self.dropped = 0

    def add(self, i: Integers, j: Integers, cosine: Floats, bits: Integers) -> None:
        self._rows = np.concatenate([self._rows, np.stack([i, j, cosine.astype(np.float64), bits], axis=1)])
        if len(self._rows) > 2 * self._most:
            self._cut()

    def best(self) -> Iterator[tuple[int, int, float, int]]:
        self._cut()
        for i, j, cosine, bits in self._rows:
            yield int(i), int(j), float(cosine), int(bits)

    def _cut(self) -> None:
        order = np.lexsort((self._rows[:, 1], self._rows[:, 0], -self._rows[:, 2]))
        self.dropped += max(0, len(order) - self._most)
        self._rows = self._rows[order[: self._most]]


def _close_hashes(codes: NDArray[np.uint64], mirrored: NDArray[np.uint64]) -> tuple[Integers, Integers]:
    """(i, j), i < j, whose hashes, one of them mirrored or not, are ``SURE_BITS`` or less apart."""
    both = np.concatenate([codes, mirrored])
    order = np.argsort(both, kind="stable")  # rows of each hash, plain or mirrored, in a row
    both = both[order]
    starts = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
    unique, ends = both[starts], np.append(starts[1:], len(both))
    counts = ends - starts
    same = np.flatnonzero(counts > 1)
    del both, starts
    close = {
        (min(a, b) % len(codes), max(a, b) % len(codes))
        for u, v in [*near_pairs(unique, SURE_BITS), *zip(same, same, strict=True)]
        for a in order[ends[u] - counts[u] : ends[u]].tolist() for b in order[ends[v] - counts[v] : ends[v]].tolist()
        if min(a, b) < len(codes)
    }  # fmt: skip
    pairs = np.array(sorted({(min(p), max(p)) for p in close if p[0] != p[1]}), np.int64).reshape(-1, 2)
    del order, unique, ends, counts, close
    give_back()
    return pairs[:, 0], pairs[:, 1]


def part_match(first: bytes, second: bytes) -> float:
    """Correlation in -1..1 of one thumbnail with the best part of the other, mirrored or not; the same either way round."""
    a, b = (np.frombuffer(data, np.uint8).reshape(THUMB, THUMB) for data in (first, second))
    return max(_best_window(whole, part) for x, y in ((a, b), (b, a)) for whole, part in ((x, y), (x, y[:, ::-1])))


def _best_window(whole: NDArray[np.uint8], part: NDArray[np.uint8]) -> float:
    picture, ground = Image.fromarray(np.ascontiguousarray(part)), whole.astype(np.float32)
    best = -1.0
    for side in PART_SIDES:
        small = np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(ground, (side, side)).reshape(-1, side * side)
        windows = windows - windows.mean(1, keepdims=True)
        pattern = small.ravel() - small.mean()
        lengths = np.linalg.norm(windows, axis=1) * np.linalg.norm(pattern)
        # A length of nothing is a flat picture, which says nothing.
        best = max(best, float((windows @ pattern / np.maximum(lengths, 1e-3 * side)).max()))
    return best


def _distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> Integers:
    bits: Integers = np.bitwise_count(a ^ b).astype(np.int64)
    return bits
