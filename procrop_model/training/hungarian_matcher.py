"""Hungarian matching of queries to annotated crops (DETR, section 3.1; costs of METHOD 4: 2 class + 5 L1 + 2 GIoU)."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from procrop_model.network.boxes import cxcywh_to_xyxy, giou
from procrop_model.training.targets import TargetBatch

ALPHA, GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class Weights:
    """Weights of the three terms, the same in the matching cost and in the loss."""

    score: float = 2.0
    l1: float = 5.0
    giou: float = 2.0


@dataclass(frozen=True)
class Matches:
    """M pairs of a query and an annotated crop: four index tensors [M]."""

    layer: Tensor
    sample: Tensor
    query: Tensor
    target: Tensor


@torch.no_grad()
def match(boxes: Tensor, logits: Tensor, targets: TargetBatch, weights: Weights) -> Matches:
    """Gives each annotated crop its own query, at each decoder layer by itself.

    boxes [L, B, Q, 4] cxcywh, logits [L, B, Q]. Each layer and sample gets min(Q, N_b) pairs.
    """
    costs = np.asarray(_costs(boxes.float(), logits.float(), targets, weights).cpu())
    pairs = []
    for layer, sample in np.ndindex(*costs.shape[:2]):
        rows, columns = linear_sum_assignment(costs[layer, sample, :, : targets.counts[sample]])
        pairs.append(np.stack([np.full_like(rows, layer), np.full_like(rows, sample), rows, columns]))
    return Matches(*torch.from_numpy(np.concatenate(pairs, 1)).to(boxes.device))


def _costs(boxes: Tensor, logits: Tensor, targets: TargetBatch, weights: Weights) -> Tensor:
    """Matching costs [L, B, Q, N]."""
    p = logits.sigmoid()
    positive = ALPHA * (1 - p) ** GAMMA * -(p + 1e-8).log()
    negative = (1 - ALPHA) * p**GAMMA * -(1 - p + 1e-8).log()
    predicted, annotated = boxes[..., None, :], targets.boxes[None, :, None]  # [L, B, Q, 1, 4], [1, B, 1, N, 4]
    distance = (predicted - annotated).abs().sum(-1)
    overlap = giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(annotated))
    return weights.score * (positive - negative)[..., None] + weights.l1 * distance - weights.giou * overlap
