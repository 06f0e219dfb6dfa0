"""Fitting the ranking head: pairwise logistic loss on size-matched pairs, then its calibration to 0..10."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.backends.scorers.composition_model import Calibration, RankingHead, log_area, widths
from stages.backends.scorers.subject_features import Array
from stages.training.scorer.pairs import INSIDE, KINDS

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """Settings of the head's fit.

    Args:
        hidden: width of the head's hidden layer.
        members: heads that are averaged.
        steps: of AdamW.
        batch: pairs of a step and member.
        learning_rate: at its start; it falls to 0 as a cosine.
        weight_decay: of AdamW.
        dropout: of the inputs about borders, of pooled ones, and of those about the subject. The more channels of the encoder
            a group has, the easier it identifies single photographs, so the more of it is dropped.
    """

    hidden: int = 24
    members: int = 5
    steps: int = 300
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    dropout: tuple[float, float, float] = (0.7, 0.85, 0.1)


@dataclass(frozen=True)
class Pairs:
    """Pairs over one matrix of features.

    Args:
        features: [N, F] of all crops.
        better: [P] rows of ``features``.
        worse: [P] rows of ``features``.
        kind: [P] indices into ``KINDS``.
        photo: [P] numbers of the photos.
    """

    features: Tensor
    better: Tensor
    worse: Tensor
    kind: Tensor
    photo: Tensor

    def select(self, chosen: Tensor) -> "Pairs":
        """Some pairs, by a mask [P], over the same features."""
        return Pairs(self.features, self.better[chosen], self.worse[chosen], self.kind[chosen], self.photo[chosen])


def fit_head(pairs: Pairs, fit: Fit, seed: int) -> RankingHead:
    """The head that ranks the better crop of each pair first; the same pairs and seed give the same weights.

    Loss: softplus(worse - better), mean over pairs drawn by the weights of ``balance``.
    """
    torch.manual_seed(seed)
    head = RankingHead(fit.hidden, fit.members)
    used = torch.cat([pairs.better, pairs.worse])
    head.mean.copy_(pairs.features[used].mean(0))
    head.deviation.copy_(pairs.features[used].std(0).clamp_min(1e-3))
    inputs = head.standardised(pairs.features.float())
    weights = balance(pairs)
    optimiser = torch.optim.AdamW(head.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay)
    kept = 1 - torch.tensor(fit.dropout).repeat_interleave(torch.tensor(widths()))  # [F]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, fit.steps)
    for _ in range(fit.steps):
        drawn = torch.multinomial(weights, fit.members * fit.batch, replacement=True).view(fit.members, fit.batch)
        keep = torch.bernoulli(kept.expand(fit.members, 1, -1)) / kept
        better, worse = (head.members(inputs[rows[drawn]] * keep) for rows in (pairs.better, pairs.worse))
        loss = nn.functional.softplus(worse - better).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return head.double().eval()


def balance(pairs: Pairs) -> Tensor:
    """Sampling weight [P]: equal for the photos of a kind, and for the kinds with paint; the kind without paint has half of all.

    So half of the pairs give no cue from the look of paint.
    """
    weights = torch.zeros(len(pairs.kind), dtype=torch.float64)
    for kind, name in enumerate(KINDS):
        of_kind = pairs.kind == kind
        share = len(KINDS) - 1.0 if name == INSIDE else 1.0
        photos, counts = pairs.photo[of_kind].unique(return_counts=True)  # type: ignore[no-untyped-call]
        for photo, count in zip(photos, counts, strict=True):
            weights[of_kind & (pairs.photo == photo)] = share / (len(photos) * float(count))
    return weights


def fit_calibration(
    raw: Sequence[Array], boxes: Sequence[Array], gaps: Array, weights: Array, frames: BoolArray
) -> Calibration:
    """The calibration of a head from random crops and from pairs of photos that its folds' heads were not fitted to.

    Args:
        raw: scores [N] of random crops of each picture: typical bad ones.
        boxes: those crops [N, 4] as fractions of the picture.
        gaps: [P], raw score of better less worse; the scale makes them log-odds.
        weights: [P], of the gaps.
        frames: [P], whether the better crop of a pair is a professional's frame; their mean gap is the lead.
    """
    sizes, values = np.concatenate([log_area(each) for each in boxes]), np.concatenate(list(raw))
    quadratic, linear, constant = np.polyfit(sizes, values, 2)
    scales = np.geomspace(0.1, 20, 200)
    losses = [np.average(np.logaddexp(0, -gaps / scale), weights=weights) for scale in scales]
    scale = float(scales[int(np.argmin(losses))])
    lead = max(0.0, float(np.average(gaps[frames], weights=weights[frames])) / scale)
    return Calibration((float(constant), float(linear), float(quadratic)), scale, lead)
