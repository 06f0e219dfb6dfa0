"""Conditional-DETR decoder: learned queries with reference boxes, content and spatial attention kept apart.

Follows Meng et al., "Conditional DETR" (2021): in cross-attention each head sees the concatenation of a content part
and a spatial part, the spatial query being the sine of the reference point scaled by a transform of the decoder
state. Ours: the reference is a box, and each layer refines the box of the one before.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from procrop_model.network.attention import FeedForward, attend
from procrop_model.network.positions import sine_of_points


@dataclass(frozen=True)
class Decoded:
    """The output of each decoder layer: states [L, B, Q, D], and boxes [L, B, Q, 4] cxcywh of the image in 0..1."""

    states: Tensor
    boxes: Tensor


class DecoderLayer(nn.Module):
    """Self-attention of the queries, conditional cross-attention to the image, feed-forward (pre-norm)."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.self_norm = nn.LayerNorm(dim)
        self.self_qk = nn.Linear(dim, 2 * dim)
        self.self_value = nn.Linear(dim, dim)
        self.self_out = nn.Linear(dim, dim)
        self.cross_norm = nn.LayerNorm(dim)
        self.content_query = nn.Linear(dim, dim)
        self.spatial_query = nn.Linear(dim, dim)
        self.content_key = nn.Linear(dim, dim)
        self.spatial_key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.cross_out = nn.Linear(dim, dim)
        self.scale = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.drop = nn.Dropout(dropout)
        self.feed = FeedForward(dim, hidden, dropout)

    def forward(self, state: Tensor, tags: Tensor, points: Tensor, image: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """
        Args:
            state: [B, Q, D].
            tags: [B, Q, D], learned embeddings that distinguish the queries.
            points: [B, Q, 2], reference points (x, y) in 0..1.
            image: memory [B, N, D], its positions [B, N, D] and its mask bool [B, N].

        Gives [B, Q, D].
        """
        x = self.self_norm(state)
        queries, keys = self.self_qk(x + tags).chunk(2, -1)
        state = state + self.drop(self.self_out(attend(queries, keys, self.self_value(x), self.heads)))
        return self.feed(state + self.drop(self._cross_attend(self.cross_norm(state), points, image)))  # type: ignore[no-any-return]

    def _cross_attend(self, state: Tensor, points: Tensor, image: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        memory, positions, valid = image
        spatial = self.spatial_query(sine_of_points(points, state.shape[-1]) * (1 + self.scale(state)))
        queries = self._join(self.content_query(state), spatial)  # [B, Q, 2 D]
        keys = self._join(self.content_key(memory), self.spatial_key(positions))  # [B, N, 2 D]
        return self.cross_out(attend(queries, keys, self.value(memory), self.heads, valid))  # type: ignore[no-any-return]

    def _join(self, content: Tensor, spatial: Tensor) -> Tensor:
        pair = torch.stack([x.reshape(*x.shape[:2], self.heads, -1) for x in (content, spatial)], -2)
        return pair.flatten(2)  # each head holds its content part, then its spatial part


class Decoder(nn.Module):
    """Decodes queries to boxes: half of the queries start from the vote of the encoder, half from learned boxes."""

    def __init__(self, layers: list[DecoderLayer], box_heads: list[nn.Module], queries: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.box_heads = nn.ModuleList(box_heads)
        self.content = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.tags = nn.Parameter(torch.randn(queries, dim) * 0.5)
        self.voted = queries // 2
        self.references = nn.Parameter(inverse_sigmoid(_spread(queries - self.voted)))
        self.offsets = nn.Parameter(torch.randn(self.voted, 4) * 0.2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, memory: Tensor, positions: Tensor, valid: Tensor, vote: Tensor) -> Decoded:
        """memory [B, N, D], positions [B, N, D], valid bool [B, N], and the vote [B, 4] cxcywh in 0..1 -> Decoded."""
        batch = len(memory)
        state = self.content.expand(batch, -1, -1)
        tags = self.tags.expand(batch, -1, -1)
        started = inverse_sigmoid(vote)[:, None] + self.offsets  # [B, Q / 2, 4]
        box = torch.cat([started, self.references.expand(batch, -1, -1)], 1)  # [B, Q, 4], before the sigmoid
        states, boxes = [], []
        for layer, head in zip(self.layers, self.box_heads, strict=True):
            state = layer(state, tags, box[..., :2].sigmoid(), (memory, positions, valid))
            normed = self.norm(state)
            moved = box + head(normed)
            states.append(normed)
            boxes.append(moved.sigmoid())
            box = moved.detach()
        return Decoded(torch.stack(states), torch.stack(boxes))


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Logit of values in 0..1, clamped to stay finite."""
    return torch.logit(x.clamp(1e-3, 1 - 1e-3))


def _spread(count: int) -> Tensor:
    """Reference boxes [count, 4] cxcywh to start from: centres of a Halton sequence in the middle of the image, of
    half its size.
    """
    points = torch.tensor([[_halton(i + 1, 2), _halton(i + 1, 3)] for i in range(count)])
    return torch.cat([0.25 + 0.5 * points, torch.full((count, 2), 0.55)], 1)


def _halton(index: int, base: int) -> float:
    value, step = 0.0, 1.0
    while index:
        step /= base
        value += step * (index % base)
        index //= base
    return value
