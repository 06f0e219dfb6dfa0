"""Neighbour lists of a batch as padded tensors for the fusion."""

from collections.abc import Sequence

import numpy as np
import torch

from procrop_model.network.fusion import References
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase


def pad_references(
    neighbours: Sequence[Sequence[Neighbour]], database: ReferenceDatabase, least: int = 0
) -> References:
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
    return References(torch.from_numpy(tokens), torch.from_numpy(similarity), torch.from_numpy(present))
