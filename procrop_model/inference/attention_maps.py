"""Why this crop: which references guided it, and which of their cells the picture's cells looked at."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from procrop_model.inference.predictor import Looked, Predictor
from procrop_model.retrieval.database import Reference

Floats = NDArray[np.float32]
PAIRS = 3  # strongest looks told a reference
NOTHING = "."


@dataclass(frozen=True)
class Guide:
    """A reference of one picture. weight: share of the picture's attention that it got. looks: the strongest ones, each
    (row, column) of the picture's grid, (row, column) of the reference's, and the weight in the cell's attention.
    """

    reference: Reference
    similarity: float
    weight: float
    looks: list[tuple[tuple[int, int], tuple[int, int], float]]


@dataclass(frozen=True)
class Guidance:
    """The attention of one picture. shares: [H, W, K], of each cell's attention, to each reference; cells: [K, h, w], of all
    attention to a reference, to each of its cells. What lacks to 1 in a cell of ``shares`` went to no reference.
    """

    guides: list[Guide]
    shares: Floats
    cells: Floats

    @staticmethod
    def none() -> "Guidance":
        """Of a picture that no reference guided."""
        return Guidance([], np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0), np.float32))

    def rows(self) -> list[str]:
        """The picture's grid, a text a row: the rank from 1 of the reference that a cell looked at most, in base 36, or a
        point where more went to none.
        """
        if not self.guides or not self.cells.size:
            return []
        rest = 1 - self.shares.sum(-1)
        first = self.shares.argmax(-1)
        strong = self.shares.sum(-1) >= rest
        return [
            "".join(np.base_repr(min(int(k) + 1, 35), 36) if on else NOTHING for k, on in zip(line, marks, strict=True))
            for line, marks in zip(first, strong, strict=True)
        ]

    def as_json(self) -> dict[str, Any]:
        """For ``crop --json``."""
        told = [
            {
                "key": guide.reference.key, "title": guide.reference.title, "author": guide.reference.author,
                "similarity": round(guide.similarity, 4), "weight": round(guide.weight, 4),
                "looks": [{"cell": list(a), "at": list(b), "weight": round(w, 4)} for a, b, w in guide.looks],
            }
            for guide in self.guides
        ]  # fmt: skip
        return {"grid": list(self.shares.shape[:2]), "looked_at": self.rows(), "references": told}


@torch.no_grad()
def attention_of(network: nn.Module, looked: Looked) -> torch.Tensor | None:
    """[B, N, K, T] of images that the network has looked at; None where it has no attention to tell of, or no reference."""
    fusion: Any = getattr(network, "fusion", None)
    if not hasattr(fusion, "weights") or looked.references.tokens.shape[1] == 0:
        return None
    seen: list[Any] = []
    hook = fusion.register_forward_pre_hook(lambda _, given: seen.append(given))
    try:
        network(looked.features, looked.aspects, looked.references, looked.text)
    finally:
        hook.remove()
    weights: torch.Tensor = fusion.weights(*seen[0])
    return weights


def guidance_of(predictor: Predictor, looked: Looked, image: int) -> Guidance:
    """The guidance of one image of those looked at."""
    found, valid = looked.found[image], looked.features.valid[image]
    height, width = int(valid.any(1).sum()), int(valid.any(0).sum())
    attention = attention_of(predictor.network, looked)
    if attention is None or not found.rows:
        guides = [
            Guide(predictor.database.entries[row], similarity, 0.0, [])
            for row, similarity in zip(found.rows, found.similarities, strict=True)
        ]
        return Guidance(
            guides, np.zeros((height, width, len(guides)), np.float32), np.zeros((len(guides), 0, 0), np.float32)
        )
    count = len(found.rows)
    grid = attention[image].reshape(*looked.features.grid.shape[-2:], *attention.shape[2:])
    mine: Floats = grid[:height, :width, :count].cpu().numpy()  # [H, W, K, T]
    side = round(mine.shape[-1] ** 0.5)
    shares = mine.sum(-1)
    per_cell = mine.sum((0, 1))  # [K, T]
    cells = per_cell / np.maximum(per_cell.sum(-1, keepdims=True), 1e-9)
    guides = [
        Guide(
            predictor.database.entries[row],
            found.similarities[k],
            float(shares[..., k].mean()),
            _looks(mine[:, :, k], side),
        )
        for k, row in enumerate(found.rows)
    ]
    return Guidance(guides, shares, cells.reshape(count, side, side))


def _looks(weights: Floats, side: int) -> list[tuple[tuple[int, int], tuple[int, int], float]]:
    """The strongest of weights [H, W, T], at most one a cell of the picture."""
    best = weights.argmax(-1)
    strength = weights.max(-1)
    order = np.argsort(-strength, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(i), weights.shape[1]) for i in order]
    return [(place, divmod(int(best[place]), side), float(strength[place])) for place in places]
