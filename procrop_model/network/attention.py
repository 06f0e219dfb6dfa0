"""Multi-head attention over projected queries, keys and values, and the feed-forward block."""

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, valid: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        queries: [B, N, E].
        keys: [B, M, E].
        values: [B, M, D]; E and D are multiples of ``heads``.
        heads: number of heads.
        valid: bool [B, M], the keys that are attended to, at least one per sample; None for all.
        bias: [B, heads, N, M], added to the logits.

    Gives [B, N, D].
    """
    q, k, v = (
        x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (queries, keys, values)
    )  # [B, heads, N, E / heads]
    mask = None if valid is None else valid[:, None, None, :]
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """LayerNorm, Linear, GELU, Linear with dropout; the residual sum is included."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        return x + self.net(self.norm(x))  # type: ignore[no-any-return]
