"""From lists of neighbours to the padded tokens that the fusion takes."""

from collections.abc import Sequence

import numpy as np
import torch

from procrop_model.network.fusion import References
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase


def gather_references(
    neighbours: Sequence[Sequence[Neighbour]], database: ReferenceDatabase, least: int = 0
) -> References:
    """Tokens of each sample's neighbours, padded to the longest list, and to ``least`` slots at least."""
    slots = max([least, *(len(row) for row in neighbours)])
    _, count, channels = database.tokens.shape
    tokens = np.zeros((len(neighbours), slots, count, channels), np.float32)
    similarity = np.zeros((len(neighbours), slots), np.float32)
    present = np.zeros((len(neighbours), slots), bool)
    for sample, row in enumerate(neighbours):
        if row:
            tokens[sample, : len(row)] = database.tokens_of([database.row(found.key) for found in row])
            similarity[sample, : len(row)] = [found.similarity for found in row]
            present[sample, : len(row)] = True
    return References(torch.from_numpy(tokens), torch.from_numpy(similarity), torch.from_numpy(present))
