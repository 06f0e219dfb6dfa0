"""Similarity of each image cell to each reference token, by the features of the retrieval encoder.

Ours. Queries and keys learned from a few hundred canvases learn these photographs rather than how to compare images: on a held-out
scene of which the database has another photograph, attention alone gains nothing from it, and with this term it does
(``benchmarks/series.py``). The encoder's features already compare images; retrieval relies on them.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

SHARPNESS = 12.0  # initial inverse temperature of the softmax over cosines: a difference of 0.1 counts 3 to 1
LIKE = 0.6  # initial cosine of the key of zero value: unrelated cells are below, cells of one scene above
SPREAD = 4.0  # scales the cosines of an image's cells, which lie within some tenths, to unit range


class Matching(nn.Module):
    """Cosines of image cells and reference tokens, as an attention bias and as a feature of each cell."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((heads,), SHARPNESS))
        self.like = nn.Parameter(torch.full((heads,), LIKE))
        self.strength = nn.Linear(2, dim, bias=False)
        self.place = nn.Linear(dim, dim, bias=False)  # adds a token's position in its photograph to its value

    def forward(self, own: Tensor, valid: Tensor, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            own: [B, N, C], features of the image's cells, L2-normalised.
            valid: bool [B, N].
            tokens: [B, K, T, C], of the references.
            present: bool [B, K].

        Gives the bias of attention logits [B, heads, N, K T]; the bias of the key of zero value [heads]; and a feature [B, N, D] to
        add to the image tokens, from the greatest similarity of a cell to any reference and its excess over the image's mean. It is
        zero without a reference.
        """
        cosines = own @ normalize(tokens.to(own.dtype).flatten(1, 2), dim=2).transpose(1, 2)  # [B, N, K T]
        slots = present.repeat_interleave(tokens.shape[2], 1)[:, None]  # [B, 1, K T]
        best = cosines.masked_fill(~slots, -1.0).amax(2)  # [B, N]
        mean = (best * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
        excess = torch.stack([best, best - mean], -1) * SPREAD  # [B, N, 2]
        excess = torch.where(present.any(1)[:, None, None], excess, excess.new_zeros(()))
        return cosines[:, None] * self.sharpness[:, None, None], self.sharpness * self.like, self.strength(excess)


def own_cells(deep: Tensor, height: int, width: int) -> Tensor:
    """Encoder maps [B, C, h / 32, w / 32] interpolated to [B, C, height, width] and L2-normalised over C."""
    return normalize(interpolate(deep.float(), size=(height, width), mode="bilinear"), dim=1)
