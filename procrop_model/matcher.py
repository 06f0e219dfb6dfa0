"""Hungarian matching of queries to annotated crops (DETR, section 3.1; costs of METHOD 4: 2 class + 5 L1 + 2 GIoU)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from procrop_model.boxes import cxcywh_to_xyxy, giou

ALPHA, GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class Weights:
    """Weights of the three terms, the same in the matching cost and in the loss."""

    score: float = 2.0
    l1: float = 5.0
    giou: float = 2.0


@torch.no_grad()
def match(boxes: Tensor, logits: Tensor, targets: Sequence[Tensor], weights: Weights) -> list[tuple[Tensor, Tensor]]:
    """Assigns each annotated crop its own query.

    boxes [B, Q, 4] cxcywh, logits [B, Q], targets: B tensors [N_b, 4] cxcywh. Gives B pairs (query indices, target
    indices), each of length min(Q, N_b).
    """
    pairs = []
    for sample, wanted in enumerate(targets):
        cost = _cost(boxes[sample].float(), logits[sample].float(), wanted.float(), weights)
        rows, columns = linear_sum_assignment(np.asarray(cost.cpu()))
        device = boxes.device
        pairs.append((torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)))
    return pairs


def _cost(boxes: Tensor, logits: Tensor, wanted: Tensor, weights: Weights) -> Tensor:
    p = logits.sigmoid()
    positive = ALPHA * (1 - p) ** GAMMA * -(p + 1e-8).log()
    negative = (1 - ALPHA) * p**GAMMA * -(1 - p + 1e-8).log()
    distance = torch.cdist(boxes, wanted, p=1)  # [Q, N]
    overlap = giou(cxcywh_to_xyxy(boxes)[:, None], cxcywh_to_xyxy(wanted)[None])
    return weights.score * (positive - negative)[:, None] + weights.l1 * distance - weights.giou * overlap
