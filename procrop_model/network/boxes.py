"""Boxes as tensors, normalised to the image: ``cxcywh`` inside the network, ``xyxy`` everywhere else."""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size [..., 4] -> corners [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners [..., 4] -> centre and size [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def areas(boxes: Tensor) -> Tensor:
    """Areas [...] of corner boxes [..., 4]; 0 when inverted."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return sides[..., 0] * sides[..., 1]


def ious(a: Tensor, b: Tensor) -> Tensor:
    """IoU [...] of corner boxes that broadcast together; 0 for boxes without area."""
    shared, union, _ = _overlap(a, b)
    return shared / union.clamp_min(1e-9)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU [...] in -1..1 of corner boxes that broadcast together (Rezatofighi et al., 2019)."""
    shared, union, hull = _overlap(a, b)
    return shared / union.clamp_min(1e-9) - (hull - union) / hull.clamp_min(1e-9)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shared = areas(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1))
    hull = areas(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1))
    return shared, areas(a) + areas(b) - shared, hull
