"""The cropper's network: image features and retrieved compositions in, crops with scores out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from procrop_model.network.backbone import Extractor, Features
from procrop_model.network.decoder import Decoder
from procrop_model.network.encoder import Encoder
from procrop_model.network.fusion import References, Text
from procrop_model.network.heads import RoiScoreHead, ScoreHead
from procrop_model.network.positions import cell_centres, sine_of_points
from procrop_model.network.precision import in_fp32
from procrop_model.network.vote_head import VoteHead


@dataclass(frozen=True)
class Output:
    """Crops of B images from Q queries, at each of L decoder layers (the last counts).

    boxes: [L, B, Q, 4] cxcywh of the image, in 0..1. logits: [L, B, Q]. inside: [B, H, W] logits that a cell lies
    within the best crop. vote: [B, 4] cxcywh, where the cells together see it; None, as ``inside``, of a network that
    does not vote. memory: the fused features that ``CropNetwork.score`` reads.
    """

    boxes: Tensor
    logits: Tensor
    inside: Tensor | None
    vote: Tensor | None
    memory: Features


class CropNetwork(nn.Module):
    """What every architecture gives: features of images, crops of features, and scores of any boxes."""

    extractor: Extractor
    roi: RoiScoreHead
    reduced = False  # whether backbone and neck compute in bf16 outside of training; what they give is fp32

    def extract(self, images: Sequence[Tensor]) -> Features:
        """Features of B images [3, h, w] as ``preprocess.prepare`` makes them."""
        if not self.reduced:
            return cast(Features, self.extractor(images))
        with torch.autocast(images[0].device.type, torch.bfloat16):
            return cast(Features, in_fp32(self.extractor(images)))

    def forward(
        self, features: Features, aspects: Tensor, references: References | None = None, text: Text | None = None
    ) -> Output:
        """features of B images; aspects [B], width / height of each; their references, or None for the plain model; their
        captions, or None.
        """
        raise NotImplementedError

    def score(self, output: Output, boxes: Tensor, aspects: Tensor) -> Tensor:
        """Logits [B, N] of given boxes [B, N, 4], xyxy of the image in 0..1; aspects [B] of the images."""
        return cast(Tensor, self.roi(output.memory, boxes, aspects))


class ProcropNetwork(CropNetwork):
    """Ours: fusion, encoder, vote, decoder and heads over extracted features."""

    def __init__(
        self,
        *,
        extractor: Extractor,
        encoder: Encoder,
        fusion: nn.Module,
        decoder: Decoder,
        scorer: ScoreHead,
        roi: RoiScoreHead,
    ) -> None:
        super().__init__()
        dim = scorer.in_features
        self.extractor = extractor
        self.encoder = encoder
        self.fusion = fusion
        self.decoder = decoder
        self.scorer = scorer
        self.roi = roi
        self.aspect = nn.Linear(1, dim)
        self.vote = VoteHead(dim)

    def forward(
        self, features: Features, aspects: Tensor, references: References | None = None, text: Text | None = None
    ) -> Output:
        """As ``CropNetwork.forward``."""
        dim, height, width = features.grid.shape[1:]
        valid = features.valid.flatten(1)  # [B, N]
        centres = cell_centres(features.valid).flatten(1, 2).to(features.grid.dtype)  # [B, N, 2]
        positions = sine_of_points(centres, dim)  # [B, N, D]
        shape = self.aspect(aspects.clamp_min(1e-3).log()[:, None].to(features.grid.dtype))
        tokens = features.grid.flatten(2).transpose(1, 2) + shape[:, None]  # [B, N, D]
        if references is not None:
            references = replace(references, own=features.own)
        tokens = self.fusion(tokens, positions, valid, references, text)
        memory = self.encoder(tokens, positions, valid)
        inside, vote = self.vote(memory, centres, valid)
        decoded = self.decoder(memory, positions, valid, vote.detach())
        logits = self.scorer(decoded.states)[..., 0]  # [L, B, Q]
        grid = memory.transpose(1, 2).reshape(-1, dim, height, width)
        fused = Features(grid, features.valid, features.pooled)
        return Output(decoded.boxes, logits, inside.reshape(-1, height, width), vote, fused)
