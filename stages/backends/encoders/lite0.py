"""The embedded encoder as a stage backend: EfficientNet-Lite0 features behind the ``Encoder`` protocol."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.core.lazy_import import LazyImport
from procrop_model.network.lite0_files import encoder_digest
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.protocols import Encoded, Image

if TYPE_CHECKING:
    from procrop_model.network.lite0 import Lite0Encoder

ENGINE: "LazyImport[type[Lite0Encoder]]" = LazyImport("procrop_model.network.lite0:Lite0Encoder")


class Lite0Settings(BackendSettings):
    """EfficientNet-Lite0.

    Args:
        size: side of the square input in pixels.
    """

    kind: Literal["lite0"] = "lite0"
    size: int = Field(224, ge=64, le=1024, multiple_of=32)

    def build(self) -> "Lite0Backend":
        """The backend; nothing is loaded yet."""
        return Lite0Backend(self.size)


class Lite0Backend:
    """Vector [320] and tokens [T, 320] of whole images, each run alone so that its features ignore its batch.

    size: side of the square that an image is resized to; T = (size / 32) ** 2.
    """

    name = "lite0"
    licence = "Apache-2.0"

    def __init__(self, size: int = 224, device: str = "cpu") -> None:
        self._size, self._device = size, device
        self._encoder: Lite0Encoder | None = None

    @property
    def digest(self) -> str:
        """Digest of weights, input size and code version."""
        return encoder_digest(self._size)

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Features, one an image [H, W, 3], in order."""
        if self._encoder is None:
            self._encoder = ENGINE.load()(self._size, self._device)
        return [_encode(self._encoder, image) for image in images]


def _encode(encoder: "Lite0Encoder", image: Image) -> Encoded:
    vector, tokens = (
        tensor[0].float().cpu().numpy().astype(np.float32) for tensor in encoder.features([image])
    )  # [320], [T, 320]
    return Encoded(vector, tokens, encoder.grid)
