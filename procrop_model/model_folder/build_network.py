"""The only place that knows sizes: from a ``CropperConfig`` to a network."""

import torch
from torch import nn

from procrop_model.network.backbone import Extractor, Neck, load_backbone
from procrop_model.network.config import ATTENTION, PUBLISHED, STRIDES, TOKEN_MLP, CropperConfig, matches
from procrop_model.network.crop_network import CropNetwork, ProcropNetwork
from procrop_model.network.decoder import Decoder, DecoderLayer
from procrop_model.network.encoder import EncoderLayer, ImageEncoder
from procrop_model.network.fusion import Fusion, NoFusion
from procrop_model.network.heads import BoxHead, RoiScoreHead, ScoreHead
from procrop_model.network.published.decoder import ConditionalDecoder, ConditionalLayer
from procrop_model.network.published.encoder import PostNormEncoder, PostNormEncoderLayer
from procrop_model.network.published.network import LastMap, PublishedNetwork
from procrop_model.network.reference_matching import Matching
from procrop_model.network.token_mlp import TokenMlp

LITE0 = "lite0"
STEM = ("conv1.", "bn1.", "layer1.")  # of a ResNet; DETR never trains them


def build_network(config: CropperConfig) -> CropNetwork:
    """A fresh network with random heads (seed torch first) and, for ``lite0``, the bundled backbone weights."""
    return _published(config) if config.architecture == PUBLISHED else _procrop(config)


def _procrop(config: CropperConfig) -> ProcropNetwork:
    dim, heads, hidden, dropout = config.dim, config.heads, config.feedforward, config.dropout
    backbone = load_backbone(config.backbone, config.train_backbone)
    if config.backbone != LITE0:  # faster on a processor; Lite0 keeps the layout that the bundled cropper was made in
        backbone.to(memory_format=torch.channels_last)
    box_heads: list[nn.Module] = [BoxHead(dim) for _ in range(config.decoder_layers)]
    canvas = _cells(config) if config.fusion == TOKEN_MLP else 0
    return ProcropNetwork(
        extractor=Extractor(backbone, Neck(backbone.channels, dim), canvas=canvas, tells_own=matches(config)),
        encoder=ImageEncoder([EncoderLayer(dim, heads, hidden, dropout) for _ in range(config.encoder_layers)], dim),
        fusion=_fusion(config),
        decoder=Decoder(
            [DecoderLayer(dim, heads, hidden, dropout) for _ in range(config.decoder_layers)],
            box_heads,
            config.queries,
            dim,
        ),
        scorer=ScoreHead(dim),
        roi=RoiScoreHead(dim, config.roi_cells, dropout, outputs=config.roi_outputs),
    )


def _published(config: CropperConfig) -> PublishedNetwork:
    dim, heads, hidden, dropout = config.dim, config.heads, config.feedforward, config.dropout
    backbone = load_backbone(config.backbone, config.train_backbone, strides=(32,), fixed=STEM)
    neck = LastMap(backbone.channels[-1], dim)
    layers = [PostNormEncoderLayer(dim, heads, hidden, dropout) for _ in range(config.encoder_layers)]
    decoding = [
        ConditionalLayer(dim, heads, hidden, dropout, first=number == 0) for number in range(config.decoder_layers)
    ]
    return PublishedNetwork(
        extractor=Extractor(backbone, neck, canvas=_cells(config), padded=config.input_side),
        encoder=PostNormEncoder(layers),
        fusion=_fusion(config),
        decoder=ConditionalDecoder(decoding, config.queries, dim),
        scorer=ScoreHead(dim),
        roi=RoiScoreHead(dim, config.roi_cells, dropout, outputs=config.roi_outputs),
    )


def _fusion(config: CropperConfig) -> nn.Module:
    if config.fusion == ATTENTION:
        matching = Matching(config.dim, config.heads) if matches(config) else None
        return Fusion(
            config.dim,
            config.heads,
            config.reference_dim,
            config.ranks,
            text_dim=config.text_dim,
            matching=matching,
        )
    if config.fusion == TOKEN_MLP:
        count, cells = config.reference_tokens, _cells(config)
        return TokenMlp(config.dim, config.reference_dim, k=config.k, count=count, image_tokens=cells * cells)
    return NoFusion()


def _cells(config: CropperConfig) -> int:
    """Cells a side of the largest map."""
    return config.input_side // STRIDES[config.architecture]
