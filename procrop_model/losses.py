"""The set loss of the decoder, the dense hint on the encoder and the loss of the RoI score head."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from procrop_model.boxes import cxcywh_to_xyxy, giou, iou_matrix
from procrop_model.matcher import GAMMA, Weights, match
from procrop_model.network import Output
from procrop_model.positions import cell_centres


@dataclass(frozen=True)
class Targets:
    """What one image should give: its annotated crops.

    boxes: [N, 4] cxcywh of the image in 0..1, N >= 1, the pseudo-label first. quality: [N] in 0..1, score / 10.
    """

    boxes: Tensor
    quality: Tensor


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss. The set terms are METHOD 4's; the rest is ours.

    other: weight of the annotated crops beside the pseudo-label, in boxes and as a share of their quality in the
    class target: the pseudo-label is known to be good, they are only believed to be. inside, roi: weights of the two
    further losses.
    """

    weights: Weights = field(default_factory=Weights)
    other: float = 0.5
    inside: float = 1.0
    roi: float = 1.0
    soft_iou: float = 0.85


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Focal loss for soft targets: |wanted - p|^2 times the cross-entropy (Li et al., quality focal loss, 2020),
    elementwise.
    """
    cross = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (wanted - logits.sigmoid()).abs() ** GAMMA * cross


def soft_label(quality: Tensor) -> Tensor:
    """Target of an unmatched query that lands on an annotated crop: clamp(0.5 (s - 2) / 1.5, 0, 0.5), s on the 1..5
    MOS scale.
    """
    mos = 1 + 4 * quality
    return (0.5 * (mos - 2) / 1.5).clamp(0, 0.5)


def set_loss(output: Output, targets: Sequence[Targets], config: LossConfig) -> dict[str, Tensor]:
    """Mean losses over a batch by name: ``score``, ``l1``, ``giou`` summed over decoder layers, and ``inside``;
    unweighted.
    """
    sums = {"score": output.boxes.new_zeros(()), "l1": output.boxes.new_zeros(()), "giou": output.boxes.new_zeros(())}
    for boxes, logits in zip(output.boxes, output.logits, strict=True):
        for name, value in _layer_loss(boxes, logits, targets, config).items():
            sums[name] = sums[name] + value
    return {**sums, "inside": inside_loss(output, targets)}


def _layer_loss(boxes: Tensor, logits: Tensor, targets: Sequence[Targets], config: LossConfig) -> dict[str, Tensor]:
    pairs = match(boxes, logits, [target.boxes for target in targets], config.weights)
    score, l1, overlap = [], [], []
    total = boxes.new_zeros(())
    for sample, (queries, chosen) in enumerate(pairs):
        target = targets[sample]
        weight = torch.where(chosen == 0, 1.0, config.other)
        found, wanted = boxes[sample, queries], target.boxes[chosen]
        l1.append((weight * (found - wanted).abs().sum(-1)).sum())
        overlap.append((weight * (1 - giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted)))).sum())
        score.append(focal(logits[sample], _class_targets(boxes[sample], target, (queries, chosen), config)).sum())
        total = total + weight.sum()
    return {
        "score": torch.stack(score).sum() / total,
        "l1": torch.stack(l1).sum() / total,
        "giou": torch.stack(overlap).sum() / total,
    }


@torch.no_grad()
def _class_targets(boxes: Tensor, target: Targets, pair: tuple[Tensor, Tensor], config: LossConfig) -> Tensor:
    overlap = iou_matrix(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target.boxes))  # [Q, N]
    best, nearest = overlap.max(1)
    label = torch.where(best >= config.soft_iou, soft_label(target.quality[nearest]), best.new_zeros(()))
    queries, chosen = pair
    label[queries] = torch.where(chosen == 0, 1.0, config.other * target.quality[chosen])
    return label


def inside_loss(output: Output, targets: Sequence[Targets]) -> Tensor:
    """Cross-entropy of each valid cell's logit against whether its centre lies within the pseudo-label."""
    centres = cell_centres(output.memory.valid)  # [B, H, W, 2]
    best = cxcywh_to_xyxy(torch.stack([target.boxes[0] for target in targets]))[:, None, None]
    wanted = ((centres >= best[..., :2]) & (centres < best[..., 2:])).all(-1)
    valid = output.memory.valid
    return binary_cross_entropy_with_logits(output.inside[valid], wanted[valid].to(output.inside.dtype))


def box_quality(boxes: Tensor, target: Targets, config: LossConfig) -> Tensor:
    """Quality [N] in 0..1 that the RoI head learns for any boxes [N, 4] xyxy: the best of (quality of an annotated
    crop) x IoU^2.
    """
    worth = torch.where(torch.arange(len(target.quality), device=boxes.device) == 0, 1.0, config.other * target.quality)
    return (worth * iou_matrix(boxes, cxcywh_to_xyxy(target.boxes)) ** 2).max(1).values


def roi_loss(logits: Tensor, boxes: Tensor, targets: Sequence[Targets], config: LossConfig) -> Tensor:
    """Cross-entropy of RoI scores [B, N] of boxes [B, N, 4] xyxy against ``box_quality``."""
    wanted = torch.stack([box_quality(box, target, config) for box, target in zip(boxes, targets, strict=True)])
    return binary_cross_entropy_with_logits(logits, wanted)


def total_loss(parts: dict[str, Tensor], config: LossConfig) -> Tensor:
    """The weighted sum of the named losses."""
    w = config.weights
    scale = {"score": w.score, "l1": w.l1, "giou": w.giou, "inside": config.inside, "roi": config.roi}
    return torch.stack([scale[name] * value for name, value in parts.items()]).sum()
