"""Transformer encoder over the image tokens (pre-norm; positions added to queries and keys of every layer)."""

from typing import cast

from torch import Tensor, nn

from procrop_model.network.attention import FeedForward, attend


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qk = nn.Linear(dim, 2 * dim)
        self.to_value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)
        self.feed = FeedForward(dim, hidden, dropout)

    def forward(self, tokens: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """tokens [B, N, D], positions [B, N, D], valid bool [B, N] -> [B, N, D]."""
        x = self.norm(tokens)
        queries, keys = self.to_qk(x + positions).chunk(2, -1)
        mixed = attend(queries, keys, self.to_value(x), self.heads, valid)
        return cast(Tensor, self.feed(tokens + self.drop(self.out(mixed))))


class ImageEncoder(nn.Module):
    """A stack of layers and a final norm."""

    def __init__(self, layers: list[EncoderLayer], dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """tokens [B, N, D], positions [B, N, D], valid bool [B, N] -> [B, N, D]."""
        for layer in self.layers:
            tokens = layer(tokens, positions, valid)
        return cast(Tensor, self.norm(tokens))
