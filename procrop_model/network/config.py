"""The sizes of a cropper, as saved beside its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline.core.errors import ModelError
from procrop_model.network.lite0_files import CHANNELS

SQUARE, FIT = "square", "fit"
PROCROP, PUBLISHED = "procrop", "published"
ATTENTION, TOKEN_MLP, NONE = "attention", "token_mlp", "none"
STRIDES = {PROCROP: 16, PUBLISHED: 32}  # of the map that the encoder reads


@dataclass(frozen=True)
class AnswerConfig:
    """How scored boxes become the crops that are given (``answer/expected_agreement.py``).

    Args:
        typical: number of typical crops, among them the whole image; 0 for a model that answers with its boxes of best score.
        fill: least and greatest share of the image that a typical crop fills.
        kept: probabilities of a margin of typical crops, across and down.
        decoded: share of the weight that the decoder's boxes have, in 0..1; typical crops have the rest.
        sharpness: a decoded box counts exp(sharpness x score).
        fit: factor on the RoI head's logits, of typical crops, that a box is the best crop.
        composition: factor on its logits of composition, which a scorer taught it (``training/taught.py``).
        calibration: slope and offset of the log-odds that a crop of expected IoU x has an IoU of 0.75 with the best crop.
    """

    typical: int = 250
    fill: tuple[float, float] = (0.35, 1.0)
    kept: tuple[float, float] = (0.6, 0.75)
    decoded: float = 0.3
    sharpness: float = 8.0
    fit: float = 1.0
    composition: float = 0.0
    calibration: tuple[float, float] = (12.0, -8.0)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "AnswerConfig":
        """The reverse of ``asdict``; raises TypeError for an unknown field."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return AnswerConfig(**values)


@dataclass(frozen=True)
class CropperConfig:
    """Every size of the network. ``model_folder/build_network.py`` alone turns it into modules.

    backbone: ``lite0`` (bundled weights) or a timm name; its maps of strides 8, 16 and 32 are fused.
    train_backbone: whether the backbone learns too; its batch norms stay frozen either way.
    source_side: long side of the canvases trained on; larger pictures are first reduced to it, since a network that
    has only seen blurred detail takes sharp detail for the subject. 0: never; training sets it.
    input_side: of the input in pixels; training sets it to the retrieval encoder's where one pass can serve both.
    input_mode: ``square`` squashes the image to ``input_side`` squared, so that one backbone pass also serves
    retrieval; ``fit`` keeps the aspect ratio with the long side at ``input_side``.
    queries: boxes decoded an image. reference_dim: channels of the retrieved tokens. ranks: rank embeddings (ranks
    beyond share the last). k: references retrieved by default. roi_cells: RoIAlign grid a side. encoder: digest of
    the retrieval encoder that the references were made with.
    architecture: ``procrop`` (ours) or ``published`` (METHOD 4; ``published_config`` has its sizes). fusion:
    ``attention`` (any k and canvas), ``token_mlp`` (the published layer: k, reference_tokens and canvas fixed) or
    ``none``. reference_tokens: tokens a reference, which only ``token_mlp`` must know; training sets it. text_dim:
    channels of a caption's tokens that join the fusion, 0 for no text. matching: whether ``attention`` is also steered by
    the encoder's own comparison of cells with reference tokens, where the backbone is the encoder (``matches``).
    roi_outputs: 2 for a RoI head that judges composition too, 1 without. answer: how boxes become the crops that are given.
    """

    backbone: str = "lite0"
    train_backbone: bool = False
    source_side: int = 0
    input_side: int = 224
    input_mode: str = SQUARE
    dim: int = 128
    heads: int = 8
    encoder_layers: int = 2
    decoder_layers: int = 3
    queries: int = 20
    feedforward: int = 256
    dropout: float = 0.1
    reference_dim: int = 320
    ranks: int = 16
    k: int = 5
    roi_cells: int = 5
    roi_outputs: int = 2
    encoder: str = ""
    architecture: str = PROCROP
    fusion: str = ATTENTION
    reference_tokens: int = 64
    text_dim: int = 0
    matching: bool = True
    answer: AnswerConfig = field(default_factory=AnswerConfig)

    def __post_init__(self) -> None:
        if self.dim % (4 * self.heads):
            raise ModelError(f"cropper: dim {self.dim} must be a multiple of 4 x heads ({4 * self.heads})")
        if self.input_side % 32:
            raise ModelError(f"cropper: input_side {self.input_side} must be a multiple of 32")
        if self.input_mode not in (SQUARE, FIT):
            raise ModelError(f"cropper: input_mode '{self.input_mode}' is neither '{SQUARE}' nor '{FIT}'")
        if self.architecture not in STRIDES:
            raise ModelError(f"cropper: architecture '{self.architecture}' is none of {', '.join(STRIDES)}")
        if self.fusion not in (ATTENTION, TOKEN_MLP, NONE):
            raise ModelError(f"cropper: fusion '{self.fusion}' is none of {ATTENTION}, {TOKEN_MLP}, {NONE}")
        if self.text_dim and self.fusion != ATTENTION:
            raise ModelError(f"cropper: text_dim {self.text_dim} needs fusion '{ATTENTION}', not '{self.fusion}'")
        if self.fusion == TOKEN_MLP and self.k < 1:
            raise ModelError(f"cropper: fusion '{TOKEN_MLP}' has a fixed k of at least 1, got {self.k}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "CropperConfig":
        """The reverse of ``to_json``; raises ModelError for an unknown field or a wrong type."""
        known = {one.name for one in fields(CropperConfig)}
        if unknown := sorted(set(data) - known):
            raise ModelError(f"cropper config has unknown field '{unknown[0]}': it was saved by another version")
        try:
            answer = AnswerConfig.from_json(data.get("answer", {"typical": 0}))
            return CropperConfig(
                **{"matching": False, "roi_outputs": 1, **data, "answer": answer}
            )  # models of before had neither
        except TypeError as error:
            raise ModelError(f"cropper config is malformed: {error}") from error


def published_config() -> CropperConfig:
    """The published sizes (METHOD 4): ResNet-50, 1024 pixels a side, 90 queries, 10 references of 64 tokens of 256 channels."""
    return CropperConfig(
        architecture=PUBLISHED, fusion=TOKEN_MLP, backbone="resnet50", train_backbone=True, input_side=1024,
        input_mode=FIT, dim=256, heads=8, encoder_layers=6, decoder_layers=6, queries=90, feedforward=2048,
        dropout=0.1, reference_dim=256, reference_tokens=64, k=10,
    )  # fmt: skip


def sizes_of(architecture: str) -> CropperConfig:
    """The default sizes of an architecture."""
    return published_config() if architecture == PUBLISHED else CropperConfig()


def shares_pass(config: CropperConfig) -> bool:
    """Whether the backbone's own pass gives the retrieval vector too, at equal input size."""
    return config.backbone == "lite0" and config.input_mode == SQUARE and not config.train_backbone


def matches(config: CropperConfig) -> bool:
    """Whether the fusion compares the image's own tokens with the references': one pass must give both."""
    return (
        config.matching
        and config.architecture == PROCROP
        and config.fusion == ATTENTION
        and shares_pass(config)
        and config.reference_dim == CHANNELS[-1]
    )
