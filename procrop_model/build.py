"""The only place that knows sizes: from a ``CropperConfig`` to a network."""

from torch import nn

from procrop_model.backbone import Extractor, Neck, load_backbone
from procrop_model.config import CropperConfig
from procrop_model.decoder import Decoder, DecoderLayer
from procrop_model.encoder import Encoder, EncoderLayer
from procrop_model.fusion import Fusion
from procrop_model.heads import BoxHead, RoiScoreHead, ScoreHead
from procrop_model.network import CropNetwork


def build_network(config: CropperConfig) -> CropNetwork:
    """A fresh network with random heads (seed torch first) and, for ``lite0``, the bundled backbone weights."""
    dim, heads, hidden, dropout = config.dim, config.heads, config.feedforward, config.dropout
    backbone = load_backbone(config.backbone, config.train_backbone)
    box_heads: list[nn.Module] = [BoxHead(dim) for _ in range(config.decoder_layers)]
    return CropNetwork(
        extractor=Extractor(backbone, Neck(backbone.channels, dim)),
        encoder=Encoder([EncoderLayer(dim, heads, hidden, dropout) for _ in range(config.encoder_layers)], dim),
        fusion=Fusion(dim, heads, config.reference_dim, config.ranks),
        decoder=Decoder(
            [DecoderLayer(dim, heads, hidden, dropout) for _ in range(config.decoder_layers)],
            box_heads,
            config.queries,
            dim,
        ),
        scorer=ScoreHead(dim),
        roi=RoiScoreHead(dim, config.roi_cells, dropout),
    )
