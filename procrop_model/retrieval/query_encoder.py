"""The encoder of new images for retrieval: the bundled Lite0, or the encoder that the references were made with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.errors import ModelError
from pipeline.core.lazy_import import LazyImport
from procrop_model.network.lite0_files import lite0_side
from procrop_model.retrieval.database import ReferenceDatabase

if TYPE_CHECKING:
    from procrop_model.network.lite0 import Lite0Encoder

Floats = NDArray[np.float32]
_LITE0: "LazyImport[type[Lite0Encoder]]" = LazyImport("procrop_model.network.lite0:Lite0Encoder")


class HasVector(Protocol):
    """Features of one image."""

    @property
    def vector(self) -> ArrayLike:
        """[D], need not be normalised."""


class QueryEncoder(Protocol):
    """What retrieval needs of an encoder; the encoders of ``stages.backends`` are examples."""

    @property
    def digest(self) -> str:
        """Short hash that changes with weights and code; must equal the digest that the references were made with."""

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[HasVector]:
        """Features of each image uint8 [H, W, 3]."""


class EmbeddedEncoder:
    """The bundled Lite0; torch is imported with the first images. size: its input side in pixels."""

    def __init__(self, size: int, device: str) -> None:
        self.size = size
        self._device = device
        self._lite0: Lite0Encoder | None = None

    def vectors(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        """[B, 320] of uint8 images [H, W, 3]."""
        if self._lite0 is None:
            self._lite0 = _LITE0.load()(self.size, self._device)
        return np.asarray(self._lite0.features(images)[0].cpu().numpy(), np.float32)


class GivenEncoder:
    """An encoder that the caller built. size: 0, since the network's backbone pass can never replace it."""

    size = 0

    def __init__(self, encoder: QueryEncoder) -> None:
        self._encoder = encoder

    def vectors(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        """[B, D] of uint8 images [H, W, 3]."""
        return np.stack([np.asarray(features.vector, np.float32) for features in self._encoder.encode(images)])


def encoder_for(
    database: ReferenceDatabase, encoder: QueryEncoder | None, device: str
) -> EmbeddedEncoder | GivenEncoder:
    """The encoder of new images. Raises ModelError when it is missing or is not the encoder of the references."""
    if encoder is not None:
        if encoder.digest != database.encoder:
            raise ModelError(
                f"the references were made with encoder {made_with(database)}, the one given has digest "
                f"'{encoder.digest}': give the same checkpoint and settings"
            )
        return GivenEncoder(encoder)
    if size := lite0_side(database.encoder):
        return EmbeddedEncoder(size, device)
    raise ModelError(
        f"the references were made with encoder {made_with(database)}, which is not bundled: pass it to "
        "Cropper.load(path, encoder=...), on the command line name its checkpoint with --encoder-checkpoint"
    )


def made_with(database: ReferenceDatabase) -> str:
    """The digest of the references' encoder for messages, with its kind and checkpoint where they were recorded."""
    settings = database.metadata.encoder_settings
    model = " ".join(str(settings[name]) for name in ("kind", "model") if settings.get(name))
    return f"'{database.encoder}'" + (f" ({model})" if model else "")
