"""Scoring in two passes: a cheap scorer chooses which crops an expensive one scores."""

from collections.abc import Sequence

import numpy as np

from pipeline.core.seeds import digest_of
from stages.backends.base.picture import LazyPicture, Maps, MaskGrid
from stages.backends.base.protocols import Floats, Image, Scorer
from stages.backends.scorers.perceiving import maps_digest, perceive_all


class PrescoredScorer:
    """Implements ``Scorer``: of each picture the best ``keep`` boxes by ``cheap``, and its first, are scored by ``full``.

    The others score below them, by their distance in ``cheap``, so that they keep its order.

    Args:
        full: the expensive scorer.
        cheap: the scorer of the first pass.
        keep: boxes of a picture that ``full`` scores, beside the first.
    """

    def __init__(self, full: Scorer, cheap: Scorer, keep: int) -> None:
        self.full, self.cheap, self.keep = full, cheap, keep
        self.name = f"{full.name}, best {keep} by {cheap.name}"
        self.licence = f"{full.licence}; {cheap.licence}"
        self._correlations: list[float] = []

    @property
    def digest(self) -> str:
        """Of both scorers and how many are kept."""
        return digest_of([self.full.digest, self.cheap.digest, self.keep])[:16]

    @property
    def agreement(self) -> tuple[float, int]:
        """(mean Spearman correlation of both scorers over the boxes that both scored, number of pictures); nan for none."""
        known = self._correlations
        return (float(np.mean(known)), len(known)) if known else (float("nan"), 0)

    def compare(self, cheap: Sequence[Floats], full: Sequence[Floats]) -> tuple[float, int]:
        """``agreement`` of given scores of whole pictures, one array [N] a picture and scorer."""
        self._correlations = []
        for pair in zip(cheap, full, strict=True):
            self._note(*pair)
        return self.agreement

    def _note(self, cheap: Floats, full: Floats) -> None:
        if len(full) > 2 and np.ptp(cheap) > 0 and np.ptp(full) > 0:
            self._correlations.append(rank_correlation(cheap, full))

    def digest_of_maps(self) -> str:
        """Of both scorers' maps; empty when neither has any."""
        return maps_digest(self._members)

    def perceive(self, images: Sequence[Image], masks: Sequence[MaskGrid], segmenter: str) -> list[Maps]:
        """The maps of both scorers, one mapping an image."""
        return perceive_all(self._members, images, masks, segmenter)

    @property
    def _members(self) -> dict[str, Scorer]:
        return {"full/": self.full, "cheap/": self.cheap}

    def score(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4] of each picture; each alone, so scores do not depend on the batch."""
        cheap = self.cheap.score([picture.part("cheap/") for picture in pictures], boxes)
        chosen = [best_and_first(scores, self.keep) for scores in cheap]
        full_pictures = [picture.part("full/") for picture in pictures]
        full = self.full.score(full_pictures, [own[index] for own, index in zip(boxes, chosen, strict=True)])
        return [self._merged(*each) for each in zip(cheap, full, chosen, strict=True)]

    def _merged(self, cheap: Floats, full: Floats, chosen: list[int]) -> Floats:
        first_pass = cheap[chosen]
        self._note(first_pass, full)
        if len(chosen) == len(cheap):
            out = np.empty(len(cheap), np.float32)
        else:
            out = np.clip(full.min() - np.maximum(first_pass.min() - cheap, 0) - 1e-3, 0, 10).astype(np.float32)
        out[chosen] = full
        return out


def best_and_first(scores: Floats, keep: int) -> list[int]:
    """Indices, ascending, of the ``keep`` best, of equals the earlier, and of the first, the pseudo-label."""
    ranked = np.argsort(-scores, kind="stable")[:keep]
    return sorted({*(int(index) for index in ranked), *range(min(1, len(scores)))})


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's: the correlation of ranks, equals sharing theirs. (scipy's would cost every command half a second.)"""
    ranks = []
    for values in (a, b):
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[which])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
