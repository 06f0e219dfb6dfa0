"""The EMA teacher (METHOD 4): late in a run, half the class loss comes from the probabilities of an average of the weights."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from procrop_model.network.crop_network import CropNetwork
from procrop_model.training.batches import Batch
from procrop_model.training.train_step import view_features


@dataclass(frozen=True)
class TeacherConfig:
    """The EMA teacher. The published values are beta 0.5 and epoch 45 of 50.

    The average is updated once per epoch, which is ours: with beta 0.5 per step it would nearly equal the student.

    Args:
        used: off by default, on in the published run.
        beta: decay of the average, in 0..1.
        start: share of the epochs after which it teaches, in 0..1.
    """

    used: bool = False
    beta: float = 0.5
    start: float = 0.9


class Teacher:
    """An average over epochs of the network's weights, always in eval mode."""

    def __init__(self, network: CropNetwork, config: TeacherConfig) -> None:
        self.config = config
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    def teaches(self, epoch: int, epochs: int) -> bool:
        """Whether it teaches in ``epoch``, from 0, of ``epochs``; never in the first, when it equals the start weights."""
        return epoch > 0 and epoch >= round(self.config.start * epochs)

    @torch.no_grad()
    def probabilities(self, batch: Batch) -> Tensor:
        """Of each query at each decoder layer [L, B, Q], in 0..1."""
        features = view_features(self.network, batch.views, batch.aspects.device)
        logits: Tensor = self.network(features, batch.aspects, batch.references, batch.text).logits
        return logits.float().sigmoid()

    @torch.no_grad()
    def end_epoch(self, network: CropNetwork) -> None:
        """Moves towards the network's present weights."""
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(its.detach(), 1 - self.config.beta)
