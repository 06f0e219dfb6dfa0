"""The published network (METHOD 4): backbone, encoder, fusion of the encoded tokens, Conditional-DETR decoder."""

from typing import cast

from torch import Tensor, nn

from procrop_model.network.backbone import Extractor, Features
from procrop_model.network.crop_network import CropNetwork, Output
from procrop_model.network.fusion import References, Text
from procrop_model.network.heads import RoiScoreHead, ScoreHead
from procrop_model.network.positions import cell_centres, sine_of_points
from procrop_model.network.published.decoder import ConditionalDecoder
from procrop_model.network.published.encoder import PostNormEncoder
from procrop_model.network.published.positions import sine_of_cells


class LastMap(nn.Module):
    """The neck as published: the coarsest map through a 1 x 1 convolution."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps [B, C_l, H_l, W_l], the last of stride 32 -> [B, D, H, W]."""
        return cast(Tensor, self.project(levels[-1]))


class PublishedNetwork(CropNetwork):
    """Encoder, fusion, decoder and heads over extracted features; it does not vote.

    The RoI head is ours: the published network cannot score a box that it did not decode, which the rest of this package
    needs. It changes no box and no score of a query.
    """

    def __init__(
        self,
        *,
        extractor: Extractor,
        encoder: PostNormEncoder,
        fusion: nn.Module,
        decoder: ConditionalDecoder,
        scorer: ScoreHead,
        roi: RoiScoreHead,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.encoder = encoder
        self.fusion = fusion
        self.decoder = decoder
        self.scorer = scorer
        self.roi = roi

    def forward(
        self, features: Features, aspects: Tensor, references: References | None = None, text: Text | None = None
    ) -> Output:
        """As ``CropNetwork.forward``; the aspects are not used."""
        dim, height, width = features.grid.shape[1:]
        valid = features.valid.flatten(1)  # [B, N]
        positions = sine_of_cells(features.valid, dim).flatten(1, 2).to(features.grid.dtype)  # [B, N, D]
        memory = self.encoder(features.grid.flatten(2).transpose(1, 2), positions, valid)  # [B, N, D]
        centres = cell_centres(features.valid).flatten(1, 2).to(memory.dtype)
        memory = self.fusion(memory, sine_of_points(centres, dim), valid, references, text)
        decoded = self.decoder(memory, positions, valid)
        logits = self.scorer(decoded.states)[..., 0]  # [L, B, Q]
        grid = memory.transpose(1, 2).reshape(-1, dim, height, width)
        return Output(decoded.boxes, logits, None, None, Features(grid, features.valid, features.pooled))
