"""One training step: forward and losses in a single module, so that accelerate can wrap it for several processes."""

import torch
from torch import Tensor, nn

from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.crop_network import CropNetwork, in_fp32
from procrop_model.training.batches import Batch
from procrop_model.training.losses import LossConfig, listwise_loss, roi_loss, set_loss, vote_loss
from procrop_model.training.taught import TaughtBatch, taught_loss
from procrop_model.training.views import View


class TrainStep(nn.Module):
    """The network with its losses."""

    def __init__(self, network: CropNetwork, config: LossConfig, precision: str = "fp32") -> None:
        super().__init__()
        self.reduced = precision == "bf16"
        self.network = network
        self.config = config

    def forward(self, batch: Batch, taught: Tensor | None = None) -> dict[str, Tensor]:
        """A batch on the network's device -> its mean losses by name, unweighted (see ``losses.total_loss``).

        taught: the teacher's probabilities [L, B, Q]. Whatever the network computes in, the losses are computed in fp32.
        """
        device = batch.aspects.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.reduced):
            features = view_features(self.network, batch.views, device)
            output = in_fp32(self.network(features, batch.aspects, batch.references, batch.text))
        decoded = cxcywh_to_xyxy(output.boxes[-1].detach()).clamp(0, 1)  # [B, Q, 4]
        scored = torch.cat([batch.roi, decoded], 1)  # [B, R, 4]
        with torch.autocast(device.type, torch.bfloat16, enabled=self.reduced):
            logits = self.network.score(output, scored, batch.aspects).float()
            typical = self.network.score(output, batch.typical, batch.aspects).float()
        losses = set_loss(output, batch.targets, self.config, taught)
        votes = vote_loss(output, batch.targets, self.config.weights)
        heads = {"roi": roi_loss(logits, scored, batch.targets, self.config)}
        if batch.typical.shape[1]:
            heads["listwise"] = listwise_loss(typical, batch.typical, batch.targets, self.config)
        if batch.taught is not None:
            heads["composition"] = self._composition(batch.taught, device)
        return {**losses, **votes, **heads}

    def _composition(self, taught: TaughtBatch, device: torch.device) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=self.reduced):
            output = in_fp32(self.network(view_features(self.network, taught.views, device), taught.aspects))
            logits = self.network.judge(output, taught.typical, taught.aspects)[..., -1].float()
        return taught_loss(logits, taught)


def view_features(network: CropNetwork, views: list[View], device: torch.device) -> Features:
    """Features of views, from their kept backbone levels where they have them."""
    kept = [view.levels for view in views if view.levels is not None]
    if len(kept) == len(views):
        return network.extractor.fuse([tuple(level.to(device).float() for level in levels) for levels in kept])
    return network.extract([view.image.to(device) for view in views if view.image is not None])
