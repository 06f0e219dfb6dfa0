"""Which pictures are the same photograph, edited: by perceptual hash, by vector, and by one being a part of the other.

Thresholds were set on the bundled photographs with ``procrop-data bench near-duplicates``, which prints what they find and
what they mistake.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.records import Signature
from stages.perceptual_hash import BITS, phash

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
THUMB = 32
# Hashes this close are one picture, whatever else they say: recoding, resizing, squeezing, colour.
SURE_BITS = 6
# A close vector and a hash that is at least related: rotations and small crops. Unrelated hashes are 32 bits apart.
NEAR_COSINE, NEAR_BITS = 0.9, 16
# A related vector, and one thumbnail found inside the other: crops. Either alone is fooled by skies.
PART_COSINE, PART_MATCH = 0.8, 0.92
# Sides of the part, in pixels of the whole's thumbnail, that are tried; a smaller part is too coarse to tell.
PART_SIDES = range(18, THUMB + 1)
# Most pairs that are looked at for parts, the most similar first: it bounds the time.
MOST_PARTS = 2_000
BLOCK = 512
# Vectors are searched by their main directions first: a projection never lengthens a distance, so that nothing is missed.
DIRECTIONS = 64


@dataclass(frozen=True)
class Likeness:
    """How alike two pictures are. bits: between their hashes, one mirrored or not; cosine: of their vectors.

    match: correlation of one thumbnail with the best part of the other; 0 where it was not needed.
    """

    bits: int
    cosine: float
    match: float = 0.0


@dataclass(frozen=True)
class Alike:
    """Pairs (i, j), i < j, that are one photograph. unchecked: pairs left out of the search for parts by its bound."""

    pairs: dict[tuple[int, int], Likeness]
    unchecked: int


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


def alike(signatures: Sequence[Signature]) -> Alike:
    """All pairs of one photograph among pictures; the same pictures in the same order give the same answer."""
    if len(signatures) < 2:
        return Alike({}, 0)
    codes, mirrored = _codes([s.phash for s in signatures]), _codes([s.mirrored for s in signatures])
    vectors = _unit(np.stack([np.frombuffer(s.vector, np.float16) for s in signatures]).astype(np.float32))
    pairs: dict[tuple[int, int], Likeness] = {}
    open_pairs = _Closest(MOST_PARTS)
    for i, j in (*_close_hashes(codes, codes), *_close_hashes(mirrored, codes), *_close_vectors(vectors)):
        cosine = np.einsum("nd,nd->n", vectors[i], vectors[j])
        bits = np.minimum(_distance(codes[i], codes[j]), _distance(mirrored[i], codes[j]))
        same = (bits <= SURE_BITS) | ((cosine >= NEAR_COSINE) & (bits <= NEAR_BITS))
        for n in np.flatnonzero(same):
            pairs[int(i[n]), int(j[n])] = Likeness(int(bits[n]), round(float(cosine[n]), 4))
        maybe = ~same & (cosine >= PART_COSINE)
        open_pairs.add(i[maybe], j[maybe], cosine[maybe], bits[maybe])
    for a, b, near, apart in open_pairs.best():
        match = part_match(signatures[a].thumb, signatures[b].thumb)
        if match >= PART_MATCH:
            pairs[a, b] = Likeness(apart, round(near, 4), round(match, 4))
    return Alike(pairs, open_pairs.dropped)


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


def _close_hashes(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> Iterator[tuple[Integers, Integers]]:
    """(i, j), i < j, whose hashes are ``SURE_BITS`` or less apart, block by block."""
    index = faiss.IndexBinaryFlat(BITS)
    for start in range(0, len(codes), BLOCK):
        index.add(codes[start : start + BLOCK])
        found = index.range_search(queries[start : start + BLOCK], SURE_BITS + 1)  # strictly below the radius
        yield _pairs(start, found)


def _close_vectors(vectors: Floats) -> Iterator[tuple[Integers, Integers]]:
    """(i, j), i < j, that include all whose cosine is ``PART_COSINE`` or more, block by block."""
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    flat = np.ascontiguousarray(centred @ directions[:, -DIRECTIONS:], dtype=np.float32)
    index = faiss.IndexFlatL2(flat.shape[1])
    for start in range(0, len(flat), BLOCK):
        index.add(flat[start : start + BLOCK])
        # Squared distance of unit vectors is 2 - 2 cosine; the slack covers rounding.
        yield _pairs(start, index.range_search(flat[start : start + BLOCK], 2 - 2 * PART_COSINE + 1e-4))


def _pairs(start: int, found: tuple[Integers, Any, Integers]) -> tuple[Integers, Integers]:
    limits, _, hits = found
    ends = limits.astype(np.int64)
    rows = np.repeat(np.arange(len(limits) - 1), ends[1:] - ends[:-1]) + start
    before = hits < rows
    return hits[before].astype(np.int64), rows[before].astype(np.int64)


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


def _codes(hashes: Sequence[str]) -> NDArray[np.uint8]:
    return np.array([list(bytes.fromhex(code)) for code in hashes], dtype=np.uint8)


def _distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Integers:
    bits: Integers = np.bitwise_count(a ^ b).sum(1).astype(np.int64)
    return bits


def _unit(vectors: Floats) -> Floats:
    lengths: Floats = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors / lengths
