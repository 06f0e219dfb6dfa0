"""What runs the network of a cropper: torch, or onnxruntime without torch. ``Predictor`` sees numbers alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from procrop_model.network.resize import Pixels
from procrop_model.retrieval.pad_references import PaddedReferences

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ImageFeatures:
    """Features of B images.

    Args:
        vectors: [B, C], L2-normalised: the retrieval vectors where the backbone is the retrieval encoder.
        held: what the engine needs again, in its own types.
    """

    vectors: Floats
    held: Any


@dataclass(frozen=True)
class DecodedBatch:
    """Output of the network for B images.

    Args:
        boxes: [B, Q, 4] xyxy in 0..1.
        held: what the engine needs again, in its own types.
    """

    boxes: Floats
    held: Any


@dataclass(frozen=True)
class Inputs:
    """What the network is given for B images.

    Args:
        features: of the images.
        aspects: [B], width / height of each image.
        references: of each image.
        prompts: a caption of each image, or None.
    """

    features: ImageFeatures
    aspects: Floats
    references: PaddedReferences
    prompts: Sequence[str] | None = None


class Engine(Protocol):
    """Runs a network in three parts, so that further boxes are scored without another pass.

    parameters: number of its weights, batch norms folded; 0 where it is not known.
    """

    parameters: int

    def features(self, images: Sequence[Pixels]) -> ImageFeatures:
        """Features of uint8 images [H, W, 3]."""

    def crops(self, inputs: Inputs) -> DecodedBatch:
        """Crops of a batch."""

    def judge(self, decoded: DecodedBatch, boxes: Floats, aspects: Floats) -> Floats:
        """Logits [B, N, 1 or 2] of the RoI head, of boxes [B, N, 4] xyxy in 0..1 of images with aspects [B]."""

    def attention(self, inputs: Inputs, image: int) -> Floats:
        """Attention [H, W, K, T] of the cells of one image to its references' tokens; empty for a network without any."""
