"""The sizes of a cropper, as saved beside its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.errors import ModelError

SQUARE, FIT = "square", "fit"


@dataclass(frozen=True)
class CropperConfig:
    """Every size of the network. ``build.py`` alone turns it into modules.

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
    encoder: str = ""

    def __post_init__(self) -> None:
        if self.dim % (4 * self.heads):
            raise ModelError(f"cropper: dim {self.dim} must be a multiple of 4 x heads ({4 * self.heads})")
        if self.input_side % 32:
            raise ModelError(f"cropper: input_side {self.input_side} must be a multiple of 32")
        if self.input_mode not in (SQUARE, FIT):
            raise ModelError(f"cropper: input_mode '{self.input_mode}' is neither '{SQUARE}' nor '{FIT}'")

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "CropperConfig":
        """The reverse of ``to_json``; raises ModelError for an unknown field or a wrong type."""
        known = {field.name for field in fields(CropperConfig)}
        if unknown := sorted(set(data) - known):
            raise ModelError(f"cropper config has unknown field '{unknown[0]}': it was saved by another version")
        try:
            return CropperConfig(**data)
        except TypeError as error:
            raise ModelError(f"cropper config is malformed: {error}") from error


def shares_pass(config: CropperConfig) -> bool:
    """Whether the backbone's own pass gives the retrieval vector too, at equal input size."""
    return config.backbone == "lite0" and config.input_mode == SQUARE and not config.train_backbone
