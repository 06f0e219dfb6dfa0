"""Explanation of a crop: which references influenced it, and which of their cells the image's cells attended to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.json_types import JsonObject
from procrop_model.inference.predictor import EncodedBatch, Predictor
from procrop_model.retrieval.database import Reference

Floats = NDArray[np.float32]
Cell = tuple[int, int]  # row, column
STRONGEST_PAIRS = 3  # pairs of cells listed per reference
NO_REFERENCE = "."


@dataclass(frozen=True)
class ReferenceAttention:
    """The attention that one reference received from an image.

    Args:
        reference: the photograph.
        similarity: cosine in -1..1 of its vector and the image's.
        weight: its share of the image's attention, in 0..1.
        pairs: the strongest pairs of an image cell and a reference cell, with the weight in the image cell's attention.
    """

    reference: Reference
    similarity: float
    weight: float
    pairs: list[tuple[Cell, Cell, float]]


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of one image of H x W cells to its K references of h x w cells.

    Args:
        references: the K references, most similar first.
        shares: [H, W, K], the share of each cell's attention that goes to each reference. The rest, up to 1, goes to none.
        cells: [K, h, w], the distribution of a reference's attention over its cells. Empty for croppers without attention.
    """

    references: list[ReferenceAttention]
    shares: Floats
    cells: Floats

    @staticmethod
    def none() -> "AttentionMaps":
        """Those of an image without references."""
        return AttentionMaps([], np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0), np.float32))

    def rows(self) -> list[str]:
        """The image's grid, one string per row: for each cell the rank, from 1 and in base 36, of the reference with most of its
        attention, or a point where more goes to none.
        """
        if not self.references or not self.cells.size:
            return []
        total = self.shares.sum(-1)
        first = self.shares.argmax(-1)
        strong = total >= 1 - total
        return [
            "".join(
                np.base_repr(min(int(k) + 1, 35), 36) if on else NO_REFERENCE for k, on in zip(line, marks, strict=True)
            )
            for line, marks in zip(first, strong, strict=True)
        ]

    def as_json(self) -> JsonObject:
        """For ``crop --json``."""
        references = [
            {
                "key": one.reference.key, "title": one.reference.title, "author": one.reference.author,
                "similarity": round(one.similarity, 4), "weight": round(one.weight, 4),
                "looks": [{"cell": list(a), "at": list(b), "weight": round(w, 4)} for a, b, w in one.pairs],
            }
            for one in self.references
        ]  # fmt: skip
        return {"grid": list(self.shares.shape[:2]), "looked_at": self.rows(), "references": references}


def attention_maps_of(predictor: Predictor, encoded: EncodedBatch, image: int) -> AttentionMaps:
    """The attention maps of image number ``image`` of an encoded batch."""
    neighbours = encoded.neighbours[image]
    references = [predictor.database.entries[row] for row in neighbours.rows]
    own = predictor.engine.attention(encoded.inputs, image)[:, :, : len(references)]  # [H, W, K, T]
    if not own.size:
        unweighted = [
            ReferenceAttention(reference, similarity, 0.0, [])
            for reference, similarity in zip(references, neighbours.similarities, strict=True)
        ]
        count = len(references)
        return AttentionMaps(
            unweighted, np.zeros((*own.shape[:2], count), np.float32), np.zeros((count, 0, 0), np.float32)
        )
    side = round(own.shape[-1] ** 0.5)
    shares = own.sum(-1)  # [H, W, K]
    per_cell = own.sum((0, 1))  # [K, T]
    cells = per_cell / np.maximum(per_cell.sum(-1, keepdims=True), 1e-9)
    weighted = [
        ReferenceAttention(
            reference,
            neighbours.similarities[k],
            float(shares[..., k].mean()),
            _strongest_pairs(own[:, :, k], side),
        )
        for k, reference in enumerate(references)
    ]
    return AttentionMaps(weighted, shares, cells.reshape(len(references), side, side))


def _strongest_pairs(weights: Floats, side: int) -> list[tuple[Cell, Cell, float]]:
    """The strongest entries of weights [H, W, T], at most one per image cell; side: rows of the reference's grid."""
    best = weights.argmax(-1)
    strength = weights.max(-1)
    order = np.argsort(-strength, axis=None, kind="stable")[:STRONGEST_PAIRS]
    places = [divmod(int(i), weights.shape[1]) for i in order]
    return [(place, divmod(int(best[place]), side), float(strength[place])) for place in places]
