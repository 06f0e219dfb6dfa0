"""The embedded segmenter: U2-NetP (1.1 M parameters, salient objects) through onnxruntime on one CPU thread.

Qin et al., "U2-Net: going deeper with nested U-structure for salient object detection", 2020.
Weights: ``assets/models/u2netp``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state
from PIL import Image as Pillow

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled, file_digest
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.protocols import Floats, Image

# 2: the graph was exported again (benchmarks/convert_u2netp.py). The weights are the same and no pixel of 121 masks moved
# by more than 1e-4 of 1 (docs/models.md). So the bundled scorer, trained on masks of version 1, keeps its weights: only
# the segmenter's digest in its config.json was replaced.
VERSION = 2
SIDE = 320
SIDE_STEP = 32  # the deepest map has 1/32 of the side, and the graph enlarges by whole factors only
_LOAD_ERRORS = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented)
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def u2netp_path() -> Path:
    """The bundled weights file."""
    return bundled("assets") / "models" / "u2netp" / "u2netp.onnx"


class U2NetSettings(BackendSettings):
    """U2-NetP through onnxruntime."""

    kind: Literal["u2netp"] = "u2netp"

    def build(self) -> "U2NetSegmenter":
        """The backend; nothing is loaded yet."""
        return U2NetSegmenter()


class U2NetSegmenter:
    """Soft masks of the salient subject. Each image is run alone, so its mask does not depend on its batch.

    Batches would save nothing: one image keeps a core at its peak rate (docs/models.md).

    Args:
        weights: an ONNX file with U2-Net's input [1, 3, side, side] and, as first output, its mask [1, 1, side, side].
        side: side of the square, in pixels, that the network sees; ValueError when it is not a multiple of 32. No setting
            of a recipe: smaller ones change the verdict on 9 to 21 canvases of 100 (docs/models.md).
    """

    name = "u2netp"
    licence = "Apache-2.0"

    def __init__(self, weights: Path | None = None, *, side: int = SIDE) -> None:
        if side <= 0 or side % SIDE_STEP:
            raise ValueError(f"side={side}: give a multiple of {SIDE_STEP}")
        self.weights = weights or u2netp_path()
        self.side = side
        self._session: ort.InferenceSession | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_session": None}

    @property
    def digest(self) -> str:
        """Digest of the weights, the side and the code version; raises ModelError when the file is missing."""
        try:
            return f"u2netp-v{VERSION}-{self.side}-{file_digest(str(self.weights))}"
        except OSError as error:
            raise ModelError(f"no segmenter weights at {self.weights}: restore assets/models/u2netp") from error

    def segment(self, images: Sequence[Image], size: tuple[int, int] | None = None) -> list[Floats]:
        """Masks [H, W] in 0..1 of uint8 images [H, W, 3]; ModelError when no weights load.

        A mask is stretched to span 0..1, as U2-Net's authors do, so every picture has a most salient place. Where the
        network sees no difference at all, the mask is 0.

        Args:
            images: of any sizes.
            size: (width, height) of every mask; None gives each the size of its own image.
        """
        masks = self.network_masks(images)
        sizes = [size or (image.shape[1], image.shape[0]) for image in images]
        return [_resized(mask, each) for mask, each in zip(masks, sizes, strict=True)]

    def network_masks(self, images: Sequence[Image]) -> list[Floats]:
        """The same masks at the network's own size [side, side], whatever the size and aspect ratio of an image.

        For callers that reduce a mask further, such as ``picture.mask_grid``: enlarging a mask to an image of
        12 megapixels first takes 48 MB and adds no detail.
        """
        return [self._mask(image) for image in images]

    def _mask(self, image: Image) -> Floats:
        session = self._load()
        (output, *_) = session.run(None, {session.get_inputs()[0].name: _to_input(image, self.side)})
        return _stretch(np.asarray(output[0, 0], np.float32))  # [side, side]

    def _load(self) -> ort.InferenceSession:
        if self._session is None:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.add_free_dimension_override_by_name("side", self.side)
            try:
                self._session = ort.InferenceSession(
                    str(self.weights), sess_options=options, providers=["CPUExecutionProvider"]
                )
            except _LOAD_ERRORS as error:
                raise ModelError(f"segmenter weights {self.weights} do not load ({error}): restore the file") from error
        return self._session


def _to_input(image: Image, side: int) -> Floats:
    """uint8 [H, W, 3] -> float32 [1, 3, side, side]: divided by its maximum, then ImageNet mean and deviation."""
    small = np.asarray(Pillow.fromarray(image).resize((side, side), Pillow.Resampling.BILINEAR), np.float32)
    scaled = (small / max(float(small.max()), 1.0) - _MEAN) / _STD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def _resized(mask: Floats, size: tuple[int, int]) -> Floats:
    resized = Pillow.fromarray(mask).resize(size, Pillow.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, np.float32), 0.0, 1.0)


def _stretch(mask: Floats) -> Floats:
    low, high = float(mask.min()), float(mask.max())
    if high - low < 1e-6:
        return np.zeros_like(mask)
    return ((mask - low) / (high - low)).astype(np.float32)
