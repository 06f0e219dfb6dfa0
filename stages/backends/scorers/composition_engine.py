"""Inference with the composition scorer: one encoder pass and one mask a picture serve all its boxes."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.backends.base.protocols import Floats, Image, Segmenter
from stages.backends.scorers.composition_features import feature_maps, load_encoder_levels, project
from stages.backends.scorers.composition_model import ScorerModel, crop_features

# Pictures, some 300 KB each: the next round of refinement scores them again, and a mask costs a quarter of a second.
_REMEMBERED = 256
_DECIMALS = 4  # a matrix product over one box or a hundred differs in the last bits of float64; scores must not


class ScorerEngine:
    """Loaded weights and the last few pictures. Raises ModelError when the weights in ``folder`` do not load."""

    def __init__(self, folder: Path, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._model = ScorerModel.load(folder, segmenter.digest)
        self._backbone = load_encoder_levels()
        self._pictures: OrderedDict[bytes, tuple[list[Tensor], Floats]] = OrderedDict()

    def score(self, image: Image, boxes: Floats) -> Floats:
        """Scores [N] of ``boxes`` [N, 4], pixels of the image uint8 [H, W, 3]."""
        if len(boxes) == 0:
            return np.empty(0, np.float32)
        height, width = image.shape[:2]
        share = np.asarray(boxes, np.float64) / np.array([width, height, width, height])
        projected, mask = self._encoded(image)
        with torch.inference_mode():
            features = crop_features(projected, mask, share)
            raw = self._model.head(features).numpy()
        return np.round(self._model.calibration.apply(raw, share), _DECIMALS).astype(np.float32)

    def _encoded(self, image: Image) -> tuple[list[Tensor], Floats]:
        """Projected encoder maps and mask; those of the last few pictures are kept, as each round of refinement scores them."""
        key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if key not in self._pictures:
            (mask,) = self._segmenter.segment([image])
            self._pictures[key] = (project(feature_maps(self._backbone, image), self._model.projection), mask)
        self._pictures.move_to_end(key)
        while len(self._pictures) > _REMEMBERED:
            self._pictures.popitem(last=False)
        return self._pictures[key]
