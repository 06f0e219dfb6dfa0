"""The set loss of the decoder, the loss of the encoder's vote and that of the RoI score head."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from procrop_model.network.boxes import cxcywh_to_xyxy, giou, ious
from procrop_model.network.crop_network import Output
from procrop_model.network.positions import cell_centres
from procrop_model.training.batches import Batch
from procrop_model.training.hungarian_matcher import GAMMA, Weights, match
from procrop_model.training.targets import TargetBatch


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss. The weights of the set terms and their box losses are METHOD 4's; the rest is ours.

    Args:
        weights: of the set terms.
        alpha: None: the class loss is the quality focal loss (ours); else METHOD 4's focal loss with this weight of positives,
            which the architecture ``published`` trains with (0.25).
        other: weight of crops other than the pseudo-label, in box losses and as a factor on their quality in the class target: the
            pseudo-label is known to be good, the others are scored by a model.
        judged: weight in box losses of crops that people scored.
        inside: weight of the loss of cells.
        vote: weight of the loss of the voted box.
        roi: weight of the loss of the RoI head on single boxes.
        composition: weight of the loss of composition on scored photographs (``taught.py``).
        listwise: weight of its loss on typical crops against one another.
        temperature: of IoU in the target of ``listwise``.
        soft_iou: least IoU at which an unmatched query counts as lying on an annotated crop.
        taught: share of the class loss that comes from the teacher, while it teaches (METHOD 4).
    """

    weights: Weights = field(default_factory=Weights)
    alpha: float | None = None
    other: float = 0.3
    judged: float = 1.0
    inside: float = 1.0
    vote: float = 1.0
    roi: float = 0.3
    composition: float = 0.5
    listwise: float = 1.0
    temperature: float = 0.08
    soft_iou: float = 0.85
    taught: float = 0.5


def total_loss(parts: dict[str, Tensor], config: LossConfig) -> Tensor:
    """The weighted sum of the named losses."""
    w = config.weights
    scale = {"score": w.score, "l1": w.l1, "giou": w.giou}
    scale |= {name: getattr(config, name) for name in ("inside", "vote", "roi", "listwise", "composition")}
    return torch.stack([scale[name] * value for name, value in parts.items()]).sum()


def focal(logits: Tensor, wanted: Tensor, alpha: float | None = None) -> Tensor:
    """Focal loss, elementwise, for targets in 0..1.

    Without ``alpha``: |wanted - p|^2 times the cross-entropy (Li et al., quality focal loss), which is least where p = wanted.
    With it: alpha_t (1 - p_t)^2 times the cross-entropy (Lin et al.; METHOD 4), alpha_t and p_t linear in a soft target.
    """
    cross, p = binary_cross_entropy_with_logits(logits, wanted, reduction="none"), logits.sigmoid()
    if alpha is None:
        return (wanted - p).abs() ** GAMMA * cross
    away = p * (1 - wanted) + (1 - p) * wanted  # 1 - p_t
    return (alpha * wanted + (1 - alpha) * (1 - wanted)) * away**GAMMA * cross


def soft_label(quality: Tensor) -> Tensor:
    """Target of an unmatched query on an annotated crop (METHOD 4): clamp(0.5 (s - 2) / 1.5, 0, 0.5), s on the 1..5
    scale.

    quality: 0..1.
    """
    return (0.5 * (1 + 4 * quality - 2) / 1.5).clamp(0, 0.5)


def set_loss(
    output: Output, targets: TargetBatch, config: LossConfig, taught: Tensor | None = None
) -> dict[str, Tensor]:
    """``score``, ``l1`` and ``giou`` over a batch, each averaged over the annotated crops and summed over decoder
    layers. taught: the teacher's probabilities [L, B, Q] of the same queries, or None.
    """
    pairs = match(output.boxes, output.logits, targets, config.weights)
    predicted = output.boxes[pairs.layer, pairs.sample, pairs.query]  # [M, 4]
    annotated = targets.boxes[pairs.sample, pairs.target]
    first = pairs.target == 0
    others = torch.where(targets.human, config.judged, config.other)[pairs.sample]
    weight = torch.where(first, 1.0, others)
    total = weight.sum() / len(output.boxes)
    overlap = giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(annotated))
    labels = _labels_by_place(output, targets, config)
    labels[pairs.layer, pairs.sample, pairs.query] = worth(targets, config)[pairs.sample, pairs.target]
    score = focal(output.logits, labels, config.alpha).sum() / total
    if taught is not None:
        from_teacher = focal(output.logits, taught, config.alpha).sum() / total
        score = (1 - config.taught) * score + config.taught * from_teacher
    return {
        "score": score,
        "l1": (weight * (predicted - annotated).abs().sum(-1)).sum() / total,
        "giou": (weight * (1 - overlap)).sum() / total,
    }


def worth(targets: TargetBatch, config: LossConfig) -> Tensor:
    """Class target [B, N] of a query that is matched with a crop: 1 for the first.

    For the others ``other`` x quality; where people judged, the quality as a share of the best crop's.
    """
    believed = config.other * targets.quality
    judged = (targets.quality / targets.quality[:, :1].clamp_min(1e-6)).clamp_max(1)
    labels = torch.where(targets.human[:, None], judged, believed)
    labels[:, 0] = 1.0
    return labels


def matched_weight(targets: TargetBatch, config: LossConfig, queries: int) -> float:
    """The sum of crop weights by which ``set_loss`` divides, for the proportions in which parts of a batch are summed."""
    others = [config.judged if human else config.other for human in targets.human.tolist()]
    return sum(1 + o * (min(queries, n) - 1) for o, n in zip(others, targets.counts, strict=True))


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

    The best over the annotated crops of worth x IoU^2; worth is 1 for the pseudo-label, ``other`` x quality else. Where people
    judged, the quality of the nearest crop x IoU^2: they judged bad crops, too, and a box keeps the score they gave it.
    """
    overlap = ious(boxes[:, :, None], cxcywh_to_xyxy(targets.boxes)[:, None])  # [B, R, N]
    believed = (worth(targets, config)[:, None] * overlap**2).max(-1).values
    share, nearest = overlap.max(-1)
    judged = targets.quality.gather(1, nearest) * share**2
    return torch.where(targets.human[:, None], judged, believed)


def roi_loss(logits: Tensor, boxes: Tensor, targets: TargetBatch, config: LossConfig) -> Tensor:
    """Cross-entropy of RoI logits [B, R] of boxes [B, R, 4] xyxy against ``box_quality``."""
    return binary_cross_entropy_with_logits(logits, box_quality(boxes, targets, config))


def listwise_loss(logits: Tensor, typical: Tensor, targets: TargetBatch, config: LossConfig) -> Tensor:
    """Cross-entropy of the softmax over typical crops against their IoU with the best crop: softmax(IoU / temperature).

    Typical crops are drawn as the best crop lies in training views, so that exp(logit) becomes the likelihood of a box against that
    prior (noise-contrastive estimation), which ``answer/expected_agreement.py`` reads.

    Args:
        logits: RoI logits [B, T].
        typical: [B, T, 4] xyxy in 0..1.
        targets: the annotated crops, the best first.
        config: the temperature.
    """
    overlap = ious(typical, cxcywh_to_xyxy(targets.boxes[:, :1]))  # [B, T]
    return -((overlap / config.temperature).softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


class LossNormalisers(NamedTuple):
    """What the mean losses of a part of a batch are means over: parts weighted by their share give the whole batch's means.

    Args:
        canvases: canvases of the part.
        cells: their cells of the feature map.
        crops: the summed weights of their annotated crops in ``set_loss``.
        taught: views of scored photographs.
    """

    canvases: float
    cells: float
    crops: float
    taught: float = 0.0

    @staticmethod
    def of(batch: Batch, config: LossConfig, queries: int) -> "LossNormalisers":
        """Those of a part that a network with ``queries`` queries goes through."""
        cells = sum(view.cells for view in batch.views)
        taught = 0 if batch.taught is None else len(batch.taught.views)
        return LossNormalisers(len(batch.views), cells, matched_weight(batch.targets, config, queries), taught)

    def share(self, name: str, whole: "LossNormalisers") -> float:
        """Factor on the part's mean of loss ``name``, so that the sum over parts is the mean over the whole batch."""
        match name:
            case "score" | "l1" | "giou":
                return self.crops / whole.crops
            case "inside":
                return self.cells / whole.cells
            case "composition":
                return self.taught / max(whole.taught, 1)
            case _:
                return self.canvases / whole.canvases
