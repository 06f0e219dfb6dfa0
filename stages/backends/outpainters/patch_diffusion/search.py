"""Two searches for a patch's sources: among all of them, or among a few carried from the coarser scale."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stages.backends.outpainters.patch_diffusion import denoiser, matches
from stages.backends.outpainters.patch_diffusion.denoiser import Queries
from stages.backends.outpainters.patch_diffusion.patches import PatchGrid
from stages.backends.outpainters.patch_diffusion.pyramid import Level
from stages.backends.outpainters.patch_diffusion.sources import Sources, rarity
from stages.backends.outpainters.patch_diffusion.tuning import Tuning

SHIFT = 0.06  # deviation of a source's colour offset: 8 grey levels
KEEP = 3  # sources carried to the next scale, a patch
JITTER = 3  # pixels: largest random move of a match
RARE_PENALTY = 1.5  # off the log-prior for each unit of rarity
APART = 0.2  # of the canvas: how far away a patch must recur to count as common
CHUNK = 2048  # queries of one matrix product, which bounds its memory


@dataclass(frozen=True)
class Carried:
    """The best sources of each patch of a level's grid [gy, gx, KEEP], best first, as indices into its sources."""

    matches: Tensor
    sources: Sources
    level: Level


class Search(Protocol):
    """Denoises the active patches of a canvas."""

    def __call__(self, noisy: Tensor, sigma: float) -> Tensor:
        """Posterior means [A, 3, P] of the active patches of ``noisy`` [1, 3, H, W]."""
        ...

    def carried(self) -> Carried:
        """The likeliest sources of the canvas that was denoised last."""
        ...


def place_prior(place: Tensor, sources: Tensor, spread: Tensor) -> Tensor:
    """Log-prior [Q, N] of sources at ``sources`` [N, 2] for patches at ``place`` [Q, 2], up to a constant a patch.

    A Gaussian around the patch's own place; ``spread`` [2] is its deviation in rows and columns.
    """
    scaled = sources / spread
    return torch.addmm(-0.5 * scaled.square().sum(1), place / spread, scaled.T)


def place_prior_among(place: Tensor, sources: Tensor, spread: Tensor) -> Tensor:
    """``place_prior`` where each patch has its own candidates, at ``sources`` [Q, K, 2]: [Q, K]."""
    return -0.5 * ((place[:, None] - sources) / spread).square().sum(-1)


class Exhaustive:
    """The exact posterior over all sources of the photo; sources that do not recur elsewhere in it are less likely."""

    def __init__(self, level: Level, grid: PatchGrid, sources: Sources, tuning: Tuning) -> None:
        self.level, self.grid, self.sources = level, grid, sources
        self.spread = grid.place.new_tensor(tuning.spread)
        self.penalty = sources.penalty + RARE_PENALTY * rarity(sources, APART)
        self._last: tuple[Tensor, float] | None = None

    def __call__(self, noisy: Tensor, sigma: float) -> Tensor:
        """Posterior means [A, 3, P] of the active patches of ``noisy`` [1, 3, H, W]."""
        self._last = noisy, sigma
        queries = self.grid.queries(noisy, sigma)
        out = torch.empty_like(queries.values)
        flat = self.sources.patches.flatten(1)
        for rows, logits in self._posterior(queries):
            out[rows] = (logits.softmax(1) @ flat).reshape(-1, *out.shape[1:])
        return denoiser.with_offset(queries, out, SHIFT)

    def _posterior(self, queries: Queries) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of the queries [R] and their log-probabilities [R, N], in chunks."""
        for which, likelihood in ((~self.grid.seam, denoiser.likelihood_even), (self.grid.seam, denoiser.likelihood)):
            for rows in _chunks(which.nonzero()[:, 0]):
                part = queries.rows(rows)
                logits = likelihood(part, self.sources.patches, SHIFT)
                logits += place_prior(part.place, self.sources.place, self.spread).sub_(self.penalty)
                yield rows, logits

    def carried(self) -> Carried:
        """The likeliest sources of the canvas that was denoised last."""
        assert self._last is not None
        queries = self.grid.queries(*self._last)
        best = torch.zeros(len(queries.values), KEEP, dtype=torch.long)
        for rows, logits in self._posterior(queries):
            top = logits.topk(min(KEEP, logits.shape[1]), 1).indices
            best[rows] = torch.cat([top, top[:, :1].expand(-1, KEEP - top.shape[1])], 1)
        return Carried(_everywhere(self.level, self.grid, self.sources, best), self.sources, self.level)


class Local:
    """The posterior over a few candidates: of the coarser scale, of neighbouring patches, and random moves nearby.

    All other sources have almost no probability at the low noise of the finer scales.
    """

    def __init__(
        self,
        level: Level,
        grid: PatchGrid,
        sources: Sources,
        tuning: Tuning,
        *,
        coarser: Carried,
        generator: torch.Generator,
    ) -> None:
        self.level, self.grid, self.sources, self.generator = level, grid, sources, generator
        self.spread = grid.place.new_tensor(tuning.spread)
        self.matches = matches.refined(coarser.matches, coarser.sources.grid, coarser.level, sources.grid, level)

    def __call__(self, noisy: Tensor, sigma: float) -> Tensor:
        """Posterior means [A, 3, P] of the active patches of ``noisy`` [1, 3, H, W]."""
        queries = self.grid.queries(noisy, sigma)
        drawn = matches.candidates(self.matches, self.level.stride, self.sources.grid, JITTER, self.generator)
        drawn = drawn.flatten(0, 1)[self.grid.active]  # [A, K]
        out = torch.empty_like(queries.values)
        best = torch.empty_like(drawn[:, :KEEP])
        for rows in _chunks(torch.arange(len(drawn))):
            out[rows], best[rows] = self._mean(queries.rows(rows), drawn[rows])
        self.matches = _everywhere(self.level, self.grid, self.sources, best)
        return denoiser.with_offset(queries, out, SHIFT)

    def _mean(self, queries: Queries, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """The mean source [Q, 3, P] of each query among its candidates ``drawn`` [Q, K], and the best [Q, KEEP]."""
        patches = self.sources.patches[drawn]  # [Q, K, 3, P]
        logits = denoiser.likelihood_among(queries, patches, SHIFT)
        logits += place_prior_among(queries.place, self.sources.place[drawn], self.spread) - self.sources.penalty[drawn]
        logits.masked_fill_(matches.repeated(drawn), -torch.inf)
        mean = logits.softmax(1)[:, None] @ patches.flatten(2)
        return mean.reshape(queries.values.shape), drawn.gather(1, logits.topk(KEEP, 1).indices)

    def carried(self) -> Carried:
        """The likeliest sources of the canvas that was denoised last."""
        return Carried(self.matches, self.sources, self.level)


def _chunks(index: Tensor) -> list[Tensor]:
    """Parts of ``index`` of at most ``CHUNK``; none of them empty."""
    return [index[start : start + CHUNK] for start in range(0, len(index), CHUNK)]


def _everywhere(level: Level, grid: PatchGrid, sources: Sources, best: Tensor) -> Tensor:
    """Best sources of active patches [A, KEEP] on the whole grid [gy, gx, KEEP]; patches wholly in the photo match themselves."""
    full = matches.in_place(level, sources.grid).reshape(-1, 1).repeat(1, KEEP)
    full[grid.active] = best
    return full.reshape(*level.grid, KEEP)
