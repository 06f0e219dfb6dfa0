"""DETR's encoder: post-norm layers with ReLU, positions added to queries and keys (Carion et al., 2020, appendix A.3)."""

from typing import cast

from torch import Tensor, nn

from procrop_model.network.attention import attend


class PostNormFeed(nn.Module):
    """Linear, ReLU, Linear, the residual sum, and then the norm."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.grow = nn.Linear(dim, hidden)
        self.shrink = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        return cast(Tensor, self.norm(x + self.drop(self.shrink(self.drop(self.grow(x).relu())))))


class PostNormEncoderLayer(nn.Module):
    """Self-attention and feed-forward."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.feed = PostNormFeed(dim, hidden, dropout)

    def forward(self, tokens: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """tokens [B, N, D], positions [B, N, D], valid bool [B, N] -> [B, N, D]."""
        placed = tokens + positions
        mixed = attend(self.query(placed), self.key(placed), self.value(tokens), self.heads, valid)
        return cast(Tensor, self.feed(self.norm(tokens + self.drop(self.out(mixed)))))


class PostNormEncoder(nn.Module):
    """A stack of layers; no norm after the last, which ends with one."""

    def __init__(self, layers: list[PostNormEncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, tokens: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """tokens [B, N, D], positions [B, N, D], valid bool [B, N] -> [B, N, D]."""
        for layer in self.layers:
            tokens = layer(tokens, positions, valid)
        return tokens
