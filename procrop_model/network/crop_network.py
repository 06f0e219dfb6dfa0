"""The cropper's network: from image features and retrieved references to crops with scores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from procrop_model.network.backbone import Extractor, Features
from procrop_model.network.boxes import xyxy_to_cxcywh
from procrop_model.network.decoder import Decoder
from procrop_model.network.encoder import ImageEncoder
from procrop_model.network.fusion import References, Text
from procrop_model.network.heads import RoiScoreHead, ScoreHead
from procrop_model.network.positions import cell_centres, sine_of_points

# A cell starts as the centre of a crop of 0.6 a side: a logit of 0 and the offsets of the corners.
VOTE_START = (0.0, -0.3, -0.3, 0.3, 0.3)
LEAST_SIDE = 0.02  # of a voted box: one without area has no finite logit to start queries from


@dataclass(frozen=True)
class Output:
    """Crops of a batch at each decoder layer; the last layer is the result, the others are trained too.

    Args:
        boxes: [L, B, Q, 4] cxcywh of the image, in 0..1.
        logits: [L, B, Q] scores.
        inside: [B, H, W] logits that a cell lies within the best crop; None for a network without ``VoteHead``.
        vote: [B, 4] cxcywh in 0..1, the best crop as predicted by the cells; None where ``inside`` is.
        memory: encoded features that ``CropNetwork.score`` reads.
    """

    boxes: Tensor
    logits: Tensor
    inside: Tensor | None
    vote: Tensor | None
    memory: Features


def in_fp32(value: Any) -> Any:
    """A tree of dataclasses with its floating-point tensors in fp32, whatever precision the network computed in."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{field.name: in_fp32(getattr(value, field.name)) for field in fields(value)})
    return value


class CropNetwork(nn.Module):
    """Interface of all architectures: features from images, crops from features, and scores of any boxes."""

    extractor: Extractor
    roi: RoiScoreHead
    reduced = False  # whether backbone and neck compute in bf16 outside of training; features are fp32 either way

    def extract(self, images: Sequence[Tensor]) -> Features:
        """B images [3, h, w] from ``preprocess.prepare``, which may differ in size -> Features."""
        if not self.reduced:
            return cast(Features, self.extractor(images))
        with torch.autocast(images[0].device.type, torch.bfloat16):
            return cast(Features, in_fp32(self.extractor(images)))

    def forward(
        self, features: Features, aspects: Tensor, references: References | None = None, text: Text | None = None
    ) -> Output:
        """Crops of a batch.

        Args:
            features: of B images.
            aspects: [B], width / height of each image.
            references: of each image, or None for the plain model.
            text: captions, or None.
        """
        raise NotImplementedError

    def score(self, output: Output, boxes: Tensor, aspects: Tensor) -> Tensor:
        """boxes [B, R, 4] xyxy of the image in 0..1, aspects [B] of the images -> RoI score logits [B, R]."""
        return self.judge(output, boxes, aspects)[..., 0]

    def judge(self, output: Output, boxes: Tensor, aspects: Tensor) -> Tensor:
        """As ``score``, with all outputs of the RoI head: logits [B, R, 1 or 2], the second ones of composition."""
        return cast(Tensor, self.roi(output.memory, boxes, aspects))


class VoteHead(nn.Module):
    """The best crop as the encoded cells predict it: each cell predicts whether it lies within and where the corners are.

    Ours, after two-stage detectors: with a few hundred canvases, queries alone are slow to learn where to attend. Here every
    cell of every canvas gives a gradient, and half of the decoder's queries start from the result.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 5))
        last = cast(nn.Linear, self.net[-1])
        nn.init.normal_(last.weight, std=1e-2)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(VOTE_START))

    def forward(self, memory: Tensor, centres: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """memory [B, N, D], cell centres [B, N, 2] (x, y) in 0..1, valid bool [B, N].

        Gives logits [B, N] that a cell lies within the best crop, and that crop [B, 4] cxcywh: the mean of the cells' corners,
        weighted by these probabilities.
        """
        predicted = self.net(memory)  # [B, N, 5]
        inside, corners = predicted[..., 0], predicted[..., 1:] + centres.repeat(1, 1, 2)
        weight = (inside.sigmoid() * valid)[..., None]  # [B, N, 1]
        box = (weight * corners).sum(1) / weight.sum(1).clamp_min(1e-6)  # [B, 4] xyxy
        voted = xyxy_to_cxcywh(box)
        return inside, torch.cat([voted[:, :2], voted[:, 2:].clamp_min(LEAST_SIDE)], -1)


class ProcropNetwork(CropNetwork):
    """Our network: fusion, encoder, vote, decoder and heads over extracted features."""

    def __init__(
        self,
        *,
        extractor: Extractor,
        encoder: ImageEncoder,
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
        """As ``CropNetwork.forward``; ``references.own`` is taken from ``features``."""
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
