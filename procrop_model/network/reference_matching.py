"""How like each image cell is to each reference token, told by the retrieval encoder itself.

Ours. Queries and keys that are learned from a few hundred canvases learn these photographs, not how to compare: on a held-out
scene of which the database has another take, attention alone gains nothing from it, and with this term it does
(``benchmarks/series.py``). The encoder has compared pictures all along; retrieval rests on it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

SHARPNESS = 12.0  # of the softmax over cosines, to start with
LIKE = 0.6  # cosine that the key of zero value stands for, to start with
SPREAD = 4.0  # cosines of one picture's cells lie within some tenths


class Matching(nn.Module):
    """Cosines of the image's own tokens with the references', as a bias of attention and as a feature of each cell."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((heads,), SHARPNESS))
        self.like = nn.Parameter(torch.full((heads,), LIKE))
        self.strength = nn.Linear(2, dim, bias=False)
        self.place = nn.Linear(dim, dim, bias=False)  # where in its photograph a token lies, told with its value

    def forward(self, own: Tensor, valid: Tensor, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """own [B, N, C], unit length where valid bool [B, N]; tokens [B, K, T, C] of references; present bool [B, K].

        Gives the bias [B, heads, N, K T] of attention logits, that of the key of zero value [heads], and [B, N, D] to add to the
        image tokens: how like any reference a cell is, and how much more so than the image's mean; zero without a reference.
        """
        cosines = own @ normalize(tokens.to(own.dtype).flatten(1, 2), dim=2).transpose(1, 2)  # [B, N, K T]
        slots = present.repeat_interleave(tokens.shape[2], 1)[:, None]  # [B, 1, K T]
        best = cosines.masked_fill(~slots, -1.0).amax(2)  # [B, N]
        mean = (best * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
        told = torch.stack([best, best - mean], -1) * SPREAD
        told = torch.where(present.any(1)[:, None, None], told, told.new_zeros(()))
        return cosines[:, None] * self.sharpness[:, None, None], self.sharpness * self.like, self.strength(told)


def own_cells(deep: Tensor, height: int, width: int) -> Tensor:
    """The encoder's maps of images [B, C, h, w], brought to their cells: [B, C, height, width], unit length over C."""
    return normalize(interpolate(deep.float(), size=(height, width), mode="bilinear"), dim=1)
