"""The exact denoiser: E[patch | noisy patch] when patches are the photo's own, up to a small shift of colour.

Model: x = s_j + o + e, with j drawn from the sources with a log-prior each, o ~ N(0, shift^2) one offset a channel,
e ~ N(0, diag(1 / w)). With d = x - s_j and, for each channel c, A_c = sum w d and B_c = sum w + 1 / shift^2,

    log p(j | x) = log prior_j - (sum w d^2 - sum_c A_c^2 / B_c) / 2 + constant,      E[o_c | j, x] = A_c / B_c,

and A_c is linear in s_j, so the posterior mean needs only the mean of s_j. The package's docstring explains the letters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Queries:
    """Noisy patches.

    Args:
        values: [Q, 3, P], pixels.
        weight: [Q, P], inverse noise variance of each pixel.
        place: [Q, 2], (row, column) as fractions of the canvas.
    """

    values: Tensor
    weight: Tensor
    place: Tensor

    def rows(self, index: Tensor) -> "Queries":
        """The queries at ``index`` [R]."""
        return Queries(self.values[index], self.weight[index], self.place[index])


def likelihood(queries: Queries, patches: Tensor, shift: float) -> Tensor:
    """Log-likelihood [Q, N] of every source [N, 3, P] for every query, up to a constant a query, by matrix products.

    shift: deviation of the colour offset.
    """
    weight = queries.weight
    weighted = weight[:, None] * queries.values  # [Q, 3, P]
    out = weighted.flatten(1) @ patches.flatten(1).T
    out.addmm_(weight, patches.square().sum(1).T, alpha=-0.5)
    scale = (0.5 / (weight.sum(1, keepdim=True) + shift**-2)).sqrt()  # [Q, 1]
    for channel in range(3):
        left = torch.cat([weighted[:, channel].sum(1, keepdim=True), weight], 1) * scale
        right = torch.cat([torch.ones_like(patches[:, 0, :1]), -patches[:, channel]], 1)
        gap = left @ right.T  # A_c / sqrt(2 B_c)
        out.addcmul_(gap, gap)
    return out


def likelihood_even(queries: Queries, patches: Tensor, shift: float) -> Tensor:
    """``likelihood`` [Q, N] for queries whose pixels all have the same noise, in a single product."""
    weight = queries.weight[:1, :1]
    size = patches.shape[2]
    share = size * (size * weight) / (size * weight + shift**-2)
    query_mean, mean = queries.values.mean(2), patches.mean(2)  # [Q, 3], [N, 3]
    left = torch.cat([queries.values.flatten(1), -share * query_mean], 1) * weight
    right = torch.cat([patches.flatten(1), mean], 1)
    bias = -0.5 * weight[0] * (patches.square().sum((1, 2)) - share[0] * mean.square().sum(1))
    return torch.addmm(bias, left, right.T)


def likelihood_among(queries: Queries, patches: Tensor, shift: float) -> Tensor:
    """``likelihood`` where each query has candidates of its own: patches [Q, K, 3, P] -> [Q, K].

    The squares are expanded, as in ``likelihood``, since reading the candidates from memory is what takes the time.
    """
    count, among, _, size = patches.shape
    weight = queries.weight[:, :, None]  # [Q, P, 1]
    weighted = queries.weight[:, None] * queries.values  # [Q, 3, P]
    out = (patches.reshape(count, among, -1) @ weighted.reshape(count, -1, 1))[..., 0]
    out -= 0.5 * (patches.square().sum(2) @ weight)[..., 0]
    gap = weighted.sum(2)[:, None] - (patches.reshape(count, -1, size) @ weight).reshape(count, among, 3)
    return out + 0.5 * gap.square().sum(2) / (queries.weight.sum(1)[:, None] + shift**-2)


def with_offset(queries: Queries, mean: Tensor, shift: float) -> Tensor:
    """The posterior mean [Q, 3, P], from the posterior mean of the source [Q, 3, P]: the expected offset is added."""
    weight = queries.weight[:, None]
    offset = (weight * (queries.values - mean)).sum(2, keepdim=True) / (weight.sum(2, keepdim=True) + shift**-2)
    return mean + offset
