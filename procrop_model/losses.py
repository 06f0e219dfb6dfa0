"""The set loss of the decoder, the loss of the encoder's vote and that of the RoI score head."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from procrop_model.boxes import cxcywh_to_xyxy, giou, ious
from procrop_model.matcher import GAMMA, Weights, match
from procrop_model.network import Output
from procrop_model.positions import cell_centres
from procrop_model.targets import TargetBatch


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss. The set terms are METHOD 4's; the rest is ours.

    other: weight of the annotated crops beside the pseudo-label, in boxes and as a share of their quality in the class
    target: the pseudo-label is known to be good, they are only believed to be. inside, vote, roi: weights of further
    losses. soft_iou: from where on an unmatched query counts as lying on an annotated crop.
    """

    weights: Weights = field(default_factory=Weights)
    other: float = 0.3
    inside: float = 1.0
    vote: float = 1.0
    roi: float = 1.0
    soft_iou: float = 0.85


def total_loss(parts: dict[str, Tensor], config: LossConfig) -> Tensor:
    """The weighted sum of the named losses."""
    w = config.weights
    scale = {"score": w.score, "l1": w.l1, "giou": w.giou}
    scale |= {"inside": config.inside, "vote": config.vote, "roi": config.roi}
    return torch.stack([scale[name] * value for name, value in parts.items()]).sum()


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Focal loss for soft targets, elementwise: |wanted - p|^2 times the cross-entropy (Li et al., quality focal
    loss).
    """
    cross = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (wanted - logits.sigmoid()).abs() ** GAMMA * cross


def soft_label(quality: Tensor) -> Tensor:
    """Target of an unmatched query on an annotated crop (METHOD 4): clamp(0.5 (s - 2) / 1.5, 0, 0.5), s on the 1..5
    scale.

    quality: 0..1.
    """
    return (0.5 * (1 + 4 * quality - 2) / 1.5).clamp(0, 0.5)


def set_loss(output: Output, targets: TargetBatch, config: LossConfig) -> dict[str, Tensor]:
    """``score``, ``l1`` and ``giou`` over a batch, each averaged over the annotated crops and summed over decoder
    layers.
    """
    pairs = match(output.boxes, output.logits, targets, config.weights)
    found = output.boxes[pairs.layer, pairs.sample, pairs.query]  # [M, 4]
    wanted = targets.boxes[pairs.sample, pairs.target]
    first = pairs.target == 0
    weight = torch.where(first, 1.0, config.other)
    total = weight.sum() / len(output.boxes)
    overlap = giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted))
    labels = _labels_by_place(output, targets, config)
    quality = targets.quality[pairs.sample, pairs.target]
    labels[pairs.layer, pairs.sample, pairs.query] = torch.where(first, 1.0, config.other * quality)
    return {
        "score": focal(output.logits, labels).sum() / total,
        "l1": (weight * (found - wanted).abs().sum(-1)).sum() / total,
        "giou": (weight * (1 - overlap)).sum() / total,
    }


@torch.no_grad()
def _labels_by_place(output: Output, targets: TargetBatch, config: LossConfig) -> Tensor:
    """Class targets [L, B, Q] of queries as if none were matched."""
    overlap = ious(cxcywh_to_xyxy(output.boxes)[..., None, :], cxcywh_to_xyxy(targets.boxes)[None, :, None])
    best, nearest = overlap.max(-1)  # [L, B, Q]
    samples = torch.arange(len(targets.counts), device=nearest.device)[None, :, None]
    soft = soft_label(targets.quality[samples, nearest])
    return torch.where(best >= config.soft_iou, soft, best.new_zeros(()))


def vote_loss(output: Output, targets: TargetBatch, weights: Weights) -> dict[str, Tensor]:
    """``inside``: cross-entropy of each valid cell against whether its centre lies within the pseudo-label.

    ``vote``: L1 and GIoU, weighted as in the set loss, of the voted box against the pseudo-label. Nothing for a network that
    does not vote.
    """
    if output.inside is None or output.vote is None:
        return {}
    best = targets.boxes[:, 0]
    corners = cxcywh_to_xyxy(best)
    valid = output.memory.valid
    centres = cell_centres(valid)  # [B, H, W, 2]
    around = corners[:, None, None]
    within = ((centres >= around[..., :2]) & (centres < around[..., 2:])).all(-1)
    distance = (output.vote - best).abs().sum(-1).mean()
    overlap = giou(cxcywh_to_xyxy(output.vote), corners).mean()
    return {
        "inside": binary_cross_entropy_with_logits(output.inside[valid], within[valid].to(output.inside.dtype)),
        "vote": weights.l1 * distance + weights.giou * (1 - overlap),
    }


def box_quality(boxes: Tensor, targets: TargetBatch, config: LossConfig) -> Tensor:
    """Quality [B, R] in 0..1 that the RoI head learns for any boxes [B, R, 4] xyxy.

    The best over the annotated crops of worth x IoU^2; worth is 1 for the pseudo-label, ``other`` x quality else.
    """
    worth = config.other * targets.quality
    worth[:, 0] = 1.0
    overlap = ious(boxes[:, :, None], cxcywh_to_xyxy(targets.boxes)[:, None])  # [B, R, N]
    return (worth[:, None] * overlap**2).max(-1).values


def roi_loss(logits: Tensor, boxes: Tensor, targets: TargetBatch, config: LossConfig) -> Tensor:
    """Cross-entropy of RoI logits [B, R] of boxes [B, R, 4] xyxy against ``box_quality``."""
    return binary_cross_entropy_with_logits(logits, box_quality(boxes, targets, config))
