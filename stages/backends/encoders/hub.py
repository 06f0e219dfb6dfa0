"""Encoders from public checkpoints through transformers: DINOv2 and CLIP."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.lazy_import import LazyImport
from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.protocols import Encoded, Image

if TYPE_CHECKING:
    from stages.backends.encoders.hub_engine import HubEncoderEngine

ENGINE: "LazyImport[type[HubEncoderEngine]]" = LazyImport("stages.backends.encoders.hub_engine:HubEncoderEngine")

PUBLISHED = {
    "dinov2": ("facebook/dinov2-base", "Apache-2.0"),
    "clip": ("openai/clip-vit-large-patch14", "MIT"),
}


class HubEncoderSettings(CheckpointSettings):
    """DINOv2 or CLIP as an encoder. Left out, model and licence are the published ones of the kind.

    Args:
        dtype: of the weights and activations.
        batch: images encoded together.
        size: side of the square input in pixels, a multiple of the model's patch; 0 for the checkpoint's own.
        grid: rows and columns that the patch tokens are pooled to.
    """

    kind: Literal["dinov2", "clip"]
    model: str
    revision: str = ""
    licence: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int = Field(16, ge=1)
    size: int = Field(0, ge=0, le=2048)
    grid: int = Field(8, ge=1, le=64)

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        known = PUBLISHED.get(str(given.get("kind"))) if isinstance(given, dict) else None
        return given if known is None else {**dict(zip(("model", "licence"), known, strict=True)), **given}

    def build(self) -> "HubEncoder":
        """The backend; nothing is loaded yet."""
        return HubEncoder(self)


class HubEncoder(FromCheckpoint[HubEncoderSettings, "HubEncoderEngine"]):
    """Implements ``Encoder``: DINOv2's class token or CLIP's image embedding, and the patch tokens, pooled."""

    def __init__(self, settings: HubEncoderSettings) -> None:
        super().__init__(settings.kind, settings, ENGINE)

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Vector [D] and tokens [grid * grid, C], one an image; ModelError when the checkpoint does not load."""
        grid = (self._settings.grid, self._settings.grid)
        return [Encoded(vector, tokens, grid) for vector, tokens in self._loaded().encode(images)]
