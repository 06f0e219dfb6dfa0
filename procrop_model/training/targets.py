"""What the network should give: the annotated crops of an image, and of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class TargetConfig:
    """Which crops of an annotated image queries are matched with: the best, and those of at least ``least_score``.

    The rest give soft labels (METHOD 4) and scores for the RoI head. Both defaults are ours: 7 of 10 is a mean opinion of 3.8 on
    the 1..5 scale, which GAICD's annotators call good.

    Args:
        least_score: in 0..10.
        most: crops in all.
    """

    least_score: float = 7.0
    most: int = 8


@dataclass(frozen=True)
class Targets:
    """Annotated crops of one image.

    boxes: [N, 4] cxcywh of the image in 0..1, N >= 1, the pseudo-label (or the best) first. quality: [N] in 0..1, score / 10.
    human: whether people judged them. wanted: how many, from the first, queries are matched with; -1 for all.
    """

    boxes: Tensor
    quality: Tensor
    human: bool = False
    wanted: int = -1


@dataclass(frozen=True)
class TargetBatch:
    """Annotated crops of B images, padded with zeros to the longest list.

    boxes [B, N, 4] cxcywh, quality [B, N], counts: how many of the N, from the first, queries are matched with; human: bool [B],
    whether people judged them. Padding has no area and no quality.
    """

    boxes: Tensor
    quality: Tensor
    counts: list[int]
    human: Tensor

    @staticmethod
    def of(targets: Sequence[Targets], device: torch.device) -> "TargetBatch":
        """From single targets."""
        boxes = pad_sequence([target.boxes for target in targets], batch_first=True)
        quality = pad_sequence([target.quality for target in targets], batch_first=True)
        counts = [len(target.boxes) if target.wanted < 0 else target.wanted for target in targets]
        human = torch.tensor([target.human for target in targets])
        return TargetBatch(boxes, quality, counts, human).to(device)

    def to(self, device: torch.device) -> "TargetBatch":
        """The same on another device."""
        return TargetBatch(self.boxes.to(device), self.quality.to(device), self.counts, self.human.to(device))
