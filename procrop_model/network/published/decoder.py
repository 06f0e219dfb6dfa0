"""The published decoder: Conditional DETR as trained on COCO (Meng et al., 2021), post-norm, with one point a query.

Each query has a learned embedding, which gives its reference point; its content starts at zero. One box head serves all
layers: its output is added to the logit of the point, and every layer starts from the same point.
"""

import torch
from torch import Tensor, nn

from procrop_model.network.attention import attend
from procrop_model.network.decoder import Decoded
from procrop_model.network.heads import BoxHead
from procrop_model.network.published.encoder import PostNormFeed
from procrop_model.network.published.positions import sine_of_centres

Image = tuple[Tensor, Tensor, Tensor]  # memory [B, N, D], its positions [B, N, D], valid bool [B, N]
Queries = tuple[Tensor, Tensor]  # embeddings [B, Q, D], sines of the reference points [B, Q, D]


class QuerySelfAttention(nn.Module):
    """Attention among queries; content and embedding have projections of their own, which are added."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_content = nn.Linear(dim, dim)
        self.query_place = nn.Linear(dim, dim)
        self.key_content = nn.Linear(dim, dim)
        self.key_place = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, state: Tensor, embedding: Tensor) -> Tensor:
        """state [B, Q, D], embedding [B, Q, D] -> [B, Q, D]."""
        queries = self.query_content(state) + self.query_place(embedding)
        keys = self.key_content(state) + self.key_place(embedding)
        return self.out(attend(queries, keys, self.value(state), self.heads))  # type: ignore[no-any-return]


class ConditionalCrossAttention(nn.Module):
    """Each head sees a content part and a spatial part side by side. first: the layer whose content also holds places."""

    def __init__(self, dim: int, heads: int, *, first: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query_content = nn.Linear(dim, dim)
        self.query_place = nn.Linear(dim, dim) if first else None
        self.query_sine = nn.Linear(dim, dim)
        self.key_content = nn.Linear(dim, dim)
        self.key_place = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, state: Tensor, queries: Queries, image: Image) -> Tensor:
        """state [B, Q, D] -> [B, Q, D]."""
        (embedding, sines), (memory, positions, valid) = queries, image
        content, keys, places = self.query_content(state), self.key_content(memory), self.key_place(positions)
        if self.query_place is not None:
            content, keys = content + self.query_place(embedding), keys + places
        spatial = self._join(content, self.query_sine(sines))  # [B, Q, 2 D]
        return self.out(attend(spatial, self._join(keys, places), self.value(memory), self.heads, valid))  # type: ignore[no-any-return]

    def _join(self, content: Tensor, spatial: Tensor) -> Tensor:
        pair = torch.stack([x.reshape(*x.shape[:2], self.heads, -1) for x in (content, spatial)], -2)
        return pair.flatten(2)  # each head holds its content part, then its spatial part


class ConditionalLayer(nn.Module):
    """Self-attention, conditional cross-attention and feed-forward, each followed by its norm."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float, *, first: bool) -> None:
        super().__init__()
        self.self_attention = QuerySelfAttention(dim, heads)
        self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = ConditionalCrossAttention(dim, heads, first=first)
        self.cross_norm = nn.LayerNorm(dim)
        self.feed = PostNormFeed(dim, hidden, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, state: Tensor, queries: Queries, image: Image) -> Tensor:
        """state [B, Q, D] -> [B, Q, D]."""
        state = self.self_norm(state + self.drop(self.self_attention(state, queries[0])))
        state = self.cross_norm(state + self.drop(self.cross_attention(state, queries, image)))
        return self.feed(state)  # type: ignore[no-any-return]


class ConditionalDecoder(nn.Module):
    """Learned queries in, boxes out."""

    def __init__(self, layers: list[ConditionalLayer], queries: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.embeddings = nn.Parameter(torch.randn(queries, dim))
        self.point = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 2))
        self.scale = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim)
        self.box_head = BoxHead(dim)

    def forward(self, memory: Tensor, positions: Tensor, valid: Tensor) -> Decoded:
        """memory [B, N, D], positions [B, N, D], valid bool [B, N] -> Decoded."""
        embedding = self.embeddings.expand(len(memory), -1, -1)
        point = self.point(embedding)  # [B, Q, 2], before the sigmoid
        sines = sine_of_centres(point.sigmoid(), embedding.shape[-1])
        state = torch.zeros_like(embedding)
        states = []
        for number, layer in enumerate(self.layers):
            scaled = sines if number == 0 else sines * self.scale(state)
            state = layer(state, (embedding, scaled), (memory, positions, valid))
            states.append(self.norm(state))
        all_states = torch.stack(states)  # [L, B, Q, D]
        moved = self.box_head(all_states) + torch.cat([point, torch.zeros_like(point)], -1)
        return Decoded(all_states, moved.sigmoid())
