"""The encoder of a new image for retrieval: the embedded one, or whatever object the references were made with."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.network.lite0_files import lite0_side
from procrop_model.retrieval.database import ReferenceDatabase

Floats = NDArray[np.float32]


class QueryEncoder(Protocol):
    """What retrieval needs of an encoder; every backend of ``stages.backends`` that plays the role is one."""

    @property
    def digest(self) -> str:
        """Short hash that changes with weights and code; must be the one that the references were made with."""

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """One object an image uint8 [H, W, 3], whose ``vector`` is float [D]."""


class EmbeddedEncoder:
    """The bundled Lite0 as a ``QueryEncoder`` that gives all vectors at once. size: its input side in pixels."""

    def __init__(self, digest: str, device: str) -> None:
        self._lite0 = Lite0Encoder.from_digest(digest, device)
        self.size = self._lite0.size

    def vectors(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        """[B, 320] of uint8 images [H, W, 3]."""
        return np.asarray(self._lite0.features(images)[0].cpu().numpy(), np.float32)


class GivenEncoder:
    """An encoder that the caller built. size: 0, since no pass of the network's own can stand in for it."""

    size = 0

    def __init__(self, encoder: QueryEncoder) -> None:
        self._encoder = encoder

    def vectors(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        """[B, D] of uint8 images [H, W, 3]."""
        return np.stack([np.asarray(found.vector, np.float32) for found in self._encoder.encode(images)])


def encoder_for(
    database: ReferenceDatabase, encoder: QueryEncoder | None, device: str
) -> EmbeddedEncoder | GivenEncoder:
    """The encoder of new images. Raises ModelError when the references need one that was not given, or another one."""
    if encoder is not None:
        if encoder.digest != database.encoder:
            raise ModelError(
                f"the references were made with encoder {made_with(database)}, the one given has digest "
                f"'{encoder.digest}': give the same checkpoint and settings"
            )
        return GivenEncoder(encoder)
    if lite0_side(database.encoder):
        return EmbeddedEncoder(database.encoder, device)
    raise ModelError(
        f"the references were made with encoder {made_with(database)}, which is not bundled: hand it to "
        "Cropper.load(path, encoder=...), on the command line name its checkpoint with --encoder-checkpoint"
    )


def made_with(database: ReferenceDatabase) -> str:
    """The digest of the references' encoder, with its kind and checkpoint where they were recorded."""
    settings = database.told.encoder_settings
    told = " ".join(str(settings[name]) for name in ("kind", "model") if settings.get(name))
    return f"'{database.encoder}'" + (f" ({told})" if told else "")
