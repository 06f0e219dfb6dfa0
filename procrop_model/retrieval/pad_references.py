"""Neighbour lists of a batch as padded arrays for the fusion."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from procrop_model.retrieval.database import Neighbour, ReferenceDatabase


class PaddedReferences(NamedTuple):
    """References of B samples in K slots, most similar first; K may be 0.

    Args:
        tokens: float32 [B, K, T, C], 0 for padding.
        similarity: float32 [B, K], cosine in -1..1, 0 for padding.
        present: bool [B, K], false for padding.
    """

    tokens: NDArray[np.float32]
    similarity: NDArray[np.float32]
    present: NDArray[np.bool_]


def pad_references(
    neighbours: Sequence[Sequence[Neighbour]], database: ReferenceDatabase, least: int = 0
) -> PaddedReferences:
    """Tokens, similarities and presence of each sample's neighbours, padded to K slots.

    Args:
        neighbours: of each of the B samples, most similar first.
        database: holds the tokens.
        least: K is the length of the longest list, and at least this.
    """
    slots = max([least, *(len(row) for row in neighbours)])
    _, count, channels = database.tokens.shape
    tokens = np.zeros((len(neighbours), slots, count, channels), np.float32)  # [B, K, T, C]
    similarity = np.zeros((len(neighbours), slots), np.float32)
    present = np.zeros((len(neighbours), slots), bool)
    for sample, row in enumerate(neighbours):
        if row:
            tokens[sample, : len(row)] = database.tokens_of([database.row(neighbour.key) for neighbour in row])
            similarity[sample, : len(row)] = [neighbour.similarity for neighbour in row]
            present[sample, : len(row)] = True
    return PaddedReferences(tokens, similarity, present)
