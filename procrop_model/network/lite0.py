"""EfficientNet-Lite0, the embedded encoder: ImageNet features that fit in 12 MB and run in 20-40 ms on a CPU core.

The architecture is timm's ``tf_efficientnet_lite0``; the weights are bundled (``assets/models/lite0``, Apache-2.0).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from pipeline.core.resources import file_digest
from procrop_model.network.lite0_files import CHANNELS, STRIDES, encoder_digest, lite0_side, weights_path
from procrop_model.network.lite0_layers import Lite0
from procrop_model.network.resize import resize

__all__ = ["CHANNELS", "STRIDES", "Lite0Encoder", "file_digest", "load_lite0", "to_input", "weights_path"]


def load_lite0(levels: Sequence[int] = (0, 1, 2, 3), weights: Path | None = None) -> nn.Module:
    """The network in eval mode; its forward gives one feature map a level [B, CHANNELS[l], H / STRIDES[l], W /
    STRIDES[l]].

    levels: indices into ``CHANNELS``. Input: [B, 3, H, W] as ``to_input`` makes it.
    """
    with torch.device(
        "meta"
    ):  # no random weights: their draws would take longer than loading, and move the caller's seed on
        model = Lite0(levels)
    state = load_file(str(weights or weights_path()))
    counters = [key for key in model.state_dict() if key.endswith("num_batches_tracked")]
    state = {**{key: torch.tensor(0) for key in counters}, **state}
    missing = [key for key in model.state_dict() if key not in state]
    if missing:
        raise ValueError(f"lite0 weights lack {len(missing)} tensors, first {missing[0]}")
    model.load_state_dict({key: state[key] for key in model.state_dict()}, assign=True)
    return model.eval()


def to_input(image: NDArray[np.uint8]) -> Tensor:
    """uint8 [H, W, 3] in 0..255 -> float [3, H, W], normalised as Lite0 was trained: (x - 127) / 128."""
    return torch.tensor(image).permute(2, 0, 1).float().sub_(127).div_(128)


class Lite0Encoder:
    """Features of whole images for retrieval: a pooled vector and a token grid.

    The image is squashed to a square of ``size`` pixels, so that token (i, j) always covers the same share of the
    frame. vector: float32 [320], mean of the last level, L2-normalised. tokens: float32 [64, 320] for size 256 (grid
    8 x 8).
    """

    name = "lite0"
    licence = "Apache-2.0"
    dim = 320

    def __init__(self, size: int = 256, device: str = "cpu") -> None:
        self.size = size
        self.device = device
        self._net: nn.Module | None = None

    @staticmethod
    def from_digest(digest: str, device: str = "cpu") -> "Lite0Encoder":
        """The encoder that a digest names; raises ModelError when it is another model or other weights."""
        if not (size := lite0_side(digest)):
            raise ModelError(f"the references were made with encoder '{digest}', which is not the embedded Lite0")
        return Lite0Encoder(size, device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_net": None}

    @property
    def digest(self) -> str:
        """Digest of weights, input size and code version."""
        return encoder_digest(self.size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the token grid."""
        return (self.size // 32, self.size // 32)

    def features(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """Vectors [B, 320] and tokens [B, T, 320] of uint8 images [H, W, 3]."""
        if self._net is None:
            self._net = load_lite0(levels=(3,)).to(self.device)
        batch = torch.stack([to_input(resize(image, self.size, self.size)) for image in images]).to(self.device)
        with torch.inference_mode():
            (grid,) = self._net(batch)  # [B, 320, gh, gw]
        tokens = grid.flatten(2).transpose(1, 2)  # [B, T, 320]
        return nn.functional.normalize(tokens.mean(1), dim=1), tokens
