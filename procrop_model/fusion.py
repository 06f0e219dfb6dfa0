"""Fusion of retrieved compositions: image tokens attend to the tokens of k references, through a gate.

The published layer mixes tokens by an MLP over the token axis, which fixes k and the canvas; this is the attention
that the paper's figure shows. A key of zero value is always present and nothing has a bias after it, so that with no
reference the layer adds exactly zero: k = 0 is the plain model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from procrop_model.attention import attend
from procrop_model.positions import sine_of_points

GATE_START = 0.2  # small, not zero: at zero nothing behind the gate would learn in the first step


@dataclass(frozen=True)
class References:
    """Retrieved compositions of a batch.

    tokens: [B, K, T, C], T tokens of a square grid, best reference first. similarity: [B, K], cosine in -1..1.
    present: bool [B, K], false for a slot that a sample does not use; K may be 0.
    """

    tokens: Tensor
    similarity: Tensor
    present: Tensor

    def to(self, device: torch.device) -> "References":
        """The same on another device."""
        return References(self.tokens.to(device), self.similarity.to(device), self.present.to(device))


class Fusion(nn.Module):
    """Cross-attention from image tokens to reference tokens with position, rank and similarity embeddings."""

    def __init__(self, dim: int, heads: int, reference_dim: int, ranks: int) -> None:
        super().__init__()
        self.heads = heads
        self.dim = dim
        self.project = nn.Sequential(nn.LayerNorm(reference_dim), nn.Linear(reference_dim, dim), nn.LayerNorm(dim))
        self.rank = nn.Embedding(ranks, dim)
        self.likeness = nn.Linear(1, dim)
        self.norm = nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, dim)
        self.to_key = nn.Linear(dim, dim)
        self.to_value = nn.Linear(dim, dim, bias=False)
        self.null_key = nn.Parameter(torch.zeros(dim))
        self.out = nn.Linear(dim, dim, bias=False)
        self.gate = nn.Parameter(torch.full((dim,), GATE_START))
        nn.init.normal_(self.rank.weight, std=0.02)

    def forward(self, tokens: Tensor, positions: Tensor, references: References | None) -> Tensor:
        """Image tokens [B, N, D] and positions [B, N, D], and k references a sample or None -> [B, N, D]."""
        if references is None or references.tokens.shape[1] == 0:
            return tokens
        values, keys, seen = self._memory(references)
        queries = self.to_query(self.norm(tokens) + positions)
        return tokens + self.gate * self.out(attend(queries, keys, values, self.heads, seen))  # type: ignore[no-any-return]

    def weights(self, tokens: Tensor, positions: Tensor, references: References) -> Tensor:
        """What ``forward`` looks at: [B, N, K, T], the attention of each image token to each reference token, mean over the
        heads; what lacks to 1 went to the key of zero value, so to nothing.
        """
        _, keys, seen = self._memory(references)
        queries = self.to_query(self.norm(tokens) + positions)
        q, k = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (queries, keys))  # [B, heads, ., D / heads]
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        attention = logits.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1).mean(1)  # [B, N, K T + 1]
        looks: Tensor = attention[..., :-1].unflatten(2, references.tokens.shape[1:3])
        return looks

    def _memory(self, references: References) -> tuple[Tensor, Tensor, Tensor]:
        batch, k, count, _ = references.tokens.shape
        content = self.project(references.tokens.to(self.gate.dtype))  # [B, K, T, D]
        ranks = torch.arange(k, device=content.device).clamp_max(self.rank.num_embeddings - 1)
        tags = self.rank(ranks)[None] + self.likeness(references.similarity.to(content.dtype)[..., None])  # [B, K, D]
        tagged = content + tags[:, :, None]
        keys = self.to_key(tagged + _grid_positions(count, self.dim, content)).flatten(1, 2)  # [B, K T, D]
        values = self.to_value(tagged).flatten(1, 2)
        seen = references.present[:, :, None].expand(-1, -1, count).flatten(1)
        keys = torch.cat([keys, self.null_key.expand(batch, 1, -1)], 1)
        values = torch.cat([values, values.new_zeros(batch, 1, self.dim)], 1)
        return values, keys, torch.cat([seen, seen.new_ones(batch, 1)], 1)


def _grid_positions(count: int, dim: int, like: Tensor) -> Tensor:
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"reference tokens must form a square grid, got {count}")
    centres = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    return sine_of_points(torch.stack([columns, rows], -1).flatten(0, 1), dim)
