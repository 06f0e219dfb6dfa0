"""The encoder's own guess: each cell tells whether it lies within the best crop and where that crop's corners are.

Ours, as in two-stage detectors: with a few hundred canvases, queries alone learn where to look slowly; here every cell
of every canvas teaches, and half of the decoder's queries start from the result.
"""

from typing import cast

import torch
from torch import Tensor, nn

from procrop_model.network.boxes import xyxy_to_cxcywh

START = (0.0, -0.3, -0.3, 0.3, 0.3)  # a cell first believes that it is the centre of a crop of 0.6 a side


class VoteHead(nn.Module):
    """Two linear layers over the tokens, and the mean of what the cells within say."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 5))
        last = cast(nn.Linear, self.net[-1])
        nn.init.normal_(last.weight, std=1e-2)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(START))

    def forward(self, memory: Tensor, centres: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """memory [B, N, D], centres of the cells [B, N, 2] in 0..1, valid bool [B, N].

        Gives logits [B, N] that a cell lies within the best crop, and the voted box [B, 4], cxcywh.
        """
        said = self.net(memory)  # [B, N, 5]
        inside, corners = said[..., 0], said[..., 1:] + centres.repeat(1, 1, 2)
        weight = (inside.sigmoid() * valid)[..., None]  # [B, N, 1]
        box = (weight * corners).sum(1) / weight.sum(1).clamp_min(1e-6)
        voted = xyxy_to_cxcywh(box)
        return inside, torch.cat([voted[:, :2], voted[:, 2:].clamp_min(0.02)], -1)
