"""What the network should give: the annotated crops of an image, and of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Targets:
    """Annotated crops of one image.

    boxes: [N, 4] cxcywh of the image in 0..1, N >= 1, the pseudo-label first. quality: [N] in 0..1, score / 10.
    """

    boxes: Tensor
    quality: Tensor


@dataclass(frozen=True)
class TargetBatch:
    """Annotated crops of B images, padded with zeros to the longest list.

    boxes [B, N, 4] cxcywh, quality [B, N], counts: how many of the N are real. Padding has no area and no quality.
    """

    boxes: Tensor
    quality: Tensor
    counts: list[int]

    @staticmethod
    def of(targets: Sequence[Targets], device: torch.device) -> "TargetBatch":
        """From single targets."""
        boxes = pad_sequence([target.boxes for target in targets], batch_first=True)
        quality = pad_sequence([target.quality for target in targets], batch_first=True)
        return TargetBatch(boxes.to(device), quality.to(device), [len(target.boxes) for target in targets])
